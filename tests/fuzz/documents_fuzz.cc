// Covers parse_document of NDJSON (texts, messages, prompts with answers) and of text, and min_hash over what it gives.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "train/documents.h"
#include "train/near_duplicates.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  train::DocumentOptions options;
  options.dialogues = size % 2 == 0;
  train::RawDocument raw;
  raw.bytes.assign(reinterpret_cast<const char*>(data), size);
  for (const bool json : {true, false}) {
    raw.json = json;
    try {
      const auto document = train::parse_document(raw, options);
      const auto hash = train::min_hash(document.text);
      if (hash && train::similarity(*hash, *hash) != 1.0) __builtin_trap();
      for (const auto& message : document.messages)
        train::min_hash(message["content"].get_ref<const std::string&>());
    } catch (const Error&) {  // any other exception is a finding
    }
  }
  return 0;
}
