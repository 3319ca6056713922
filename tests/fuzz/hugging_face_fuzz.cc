// Covers describe_hugging_face (config.json and generation_config.json), gguf_name, parse_listing with choose_files, and GGUF
// files in parts.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "model/gguf.h"
#include "model/hf/description.h"
#include "model/hf/names.h"
#include "model/hub.h"

namespace {

template <class Call>
void refused_or_done(Call call) {
  try {
    call();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom::model;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  refused_or_done([&] { describe_hugging_face(text, "", "fuzz"); });
  refused_or_done([&] { describe_hugging_face(R"({"architectures":["LlamaForCausalLM"]})", text, "fuzz"); });
  refused_or_done([&] { pooling_type(text, "fuzz"); });
  refused_or_done([&] { chat_template_of(text, "fuzz"); });
  for (const char* architecture : {"llama", "gemma3", "grok", "bert"}) gguf_name(architecture, text);
  refused_or_done([&] {
    const auto listing = parse_listing(text, "o/n", "main");
    choose_files(listing, {"o", "n", ""});
    choose_files(listing, {"o", "n", "Q4_K_M"});
  });
  refused_or_done([&] { parse_hub_name(text); });
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::span<const std::byte> parts[] = {bytes.first(size / 2), bytes.subspan(size / 2)};
  refused_or_done([&] { GgufFile::parse_parts(parts, "fuzz"); });
  return 0;
}
