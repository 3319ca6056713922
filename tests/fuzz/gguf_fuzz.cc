// Covers GgufFile::parse, every metadata reader, ModelConfig::from_gguf, and Tokenizer::from_gguf with encode and decode.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace {

using fathom::model::GgufFile;

template <class Call>
void refused_or_done(Call call) {
  try {
    call();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
}

void read_everything(const GgufFile& file) {
  for (const auto& item : file.metadata()) {
    const std::string_view key = item.first;
    refused_or_done([&] { file.find_uint(key); });
    refused_or_done([&] { file.find_int(key); });
    refused_or_done([&] { file.find_float(key); });
    refused_or_done([&] { file.find_bool(key); });
    refused_or_done([&] { file.find_string(key); });
    refused_or_done([&] { file.find_ints(key); });
    refused_or_done([&] { file.find_floats(key); });
    refused_or_done([&] { file.find_strings(key); });
  }
  for (const auto& tensor : file.tensors())
    if (!tensor.data.empty() && tensor.data.back() == std::byte{0xA5})
      refused_or_done([&] { file.tensor(tensor.name); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  refused_or_done([&] {
    const auto file = GgufFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
    read_everything(file);
    refused_or_done([&] { fathom::model::ModelConfig::from_gguf(file); });
    refused_or_done([&] {
      const auto tokenizer = fathom::model::Tokenizer::from_gguf(file);
      const std::string_view tail(reinterpret_cast<const char*>(data) + size - size / 4, size / 4);
      tokenizer.decode(tokenizer.encode(tail, true), true);
    });
  });
  return 0;
}
