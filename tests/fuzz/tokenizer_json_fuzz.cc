// Covers tokenizer_metadata, sentence_piece_metadata and the tokenizers they describe: the first byte chooses the format,
// a NUL separates tokenizer.json from tokenizer_config.json and from the text that is encoded.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/tokenizer.h"
#include "model/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.empty()) return 0;
  const bool is_model = input[0] == 'M';
  input.remove_prefix(1);
  const auto take = [&] {
    const size_t end = std::min(input.find('\0'), input.size());
    const std::string_view part = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    return part;
  };
  try {
    fathom::model::TokenizerMetadata metadata;
    std::string_view text = "Hello \xF0\x9F\x9A\x80 w\xC3\xB6rld 123\n\n  a\xFF";
    if (is_model) {
      metadata = fathom::model::sentence_piece_metadata(input);
    } else {
      const std::string_view json = take(), config = take();
      metadata = fathom::model::tokenizer_metadata(json, config);
      if (!input.empty()) text = input;
    }
    const auto tokenizer = fathom::model::Tokenizer::from_metadata(metadata, "fuzz");
    for (const bool special : {false, true})
      for (const int32_t id : tokenizer.encode(text, special))
        if (id < 0 || static_cast<size_t>(id) >= tokenizer.size()) std::abort();
    tokenizer.decode(tokenizer.encode(text));
  } catch (const fathom::Error& error) {  // any other exception is a finding
    if (error.code() == fathom::ErrorCode::kInternal) std::abort();
  }
  return 0;
}
