#include "model/safetensors_file_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace fathom::model {

void SafetensorsFileWriter::add(std::string name, tensor::DType dtype, std::vector<uint64_t> shape,
                                std::function<std::vector<float>()> source) {
  FATHOM_CHECK(tensor::block_size(dtype) == 1, "safetensors has plain formats alone");
  uint64_t elements = 1;
  for (const uint64_t extent : shape) elements *= extent;
  tensors_.push_back({std::move(name), dtype, std::move(shape), elements, std::move(source)});
}

std::string SafetensorsFileWriter::header() const {
  nlohmann::ordered_json tensors = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t at = 0;
  for (const Tensor& t : tensors_) {
    const uint64_t end = at + t.elements * tensor::block_bytes(t.dtype);
    tensors[t.name] = {{"dtype", tensor::name(t.dtype)}, {"shape", t.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = tensors.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void SafetensorsFileWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  const std::string text = header();
  const auto length = static_cast<uint64_t>(text.size());
  file.write({reinterpret_cast<const char*>(&length), sizeof length});
  file.write(text);
  for (const Tensor& t : tensors_) {
    const std::vector<float> values = t.source();
    FATHOM_CHECK(values.size() == t.elements, "a source gives what its tensor's shape calls for");
    std::string bytes(tensor::row_bytes(t.dtype, values.size()), '\0');
    tensor::quantize_row(t.dtype, values.data(), reinterpret_cast<std::byte*>(bytes.data()), values.size());
    file.write(bytes);
  }
  file.commit();
}

}  // namespace fathom::model
