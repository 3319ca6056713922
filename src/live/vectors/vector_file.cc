#include "live/vectors/vector_file.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"

namespace fathom::live {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::string_view kMagic = "FTHMVEC1";
constexpr size_t kMaxModelName = 4096;
constexpr size_t kFlush = size_t{1} << 20;
constexpr size_t kNodeHeader = 1 + 8 + 8 + 8 + 4;

/// Gathers small values into large writes, with the sum over all.
class Writer {
 public:
  explicit Writer(AtomicFile& file) : file_(file) {}

  template <class T>
  void value(T value) {
    bytes({reinterpret_cast<const char*>(&value), sizeof value});
  }
  void bytes(std::string_view bytes) {
    buffer_ += bytes;
    if (buffer_.size() >= kFlush) flush();
  }
  void finish() {
    flush();
    value(sum_.value());
    file_.write(buffer_);
  }

 private:
  void flush() {
    sum_.update(buffer_);
    file_.write(buffer_);
    buffer_.clear();
  }
  AtomicFile& file_;
  Checksum64 sum_;
  std::string buffer_;
};

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view name) : rest_(bytes), name_(name) {}

  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(ErrorCode::kCorrupt, fmt::format("the file of vectors '{}' {}", name_, why));
  }
  std::span<const std::byte> bytes(size_t count) {
    if (count > rest_.size()) refuse("ends too early");
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  template <class T>
  T value() {
    T value{};
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
  std::string_view name_;
};

void write_node(Writer& writer, const Hnsw::Image& image) {
  writer.value(image.state);
  writer.value(image.facts.sequence);
  writer.value(image.facts.created);
  writer.value(image.facts.sketch);
  writer.value(image.scale);
  writer.bytes({reinterpret_cast<const char*>(image.codes.data()), image.codes.size()});
  writer.bytes({reinterpret_cast<const char*>(image.links.data()), image.links.size_bytes()});
}

Backlog read_backlog(Reader& reader, uint64_t known, size_t count) {
  std::vector<Backlog::Range> ranges;
  uint64_t before = 0;
  for (size_t i = 0; i < count; ++i) {
    Backlog::Range range;
    range.after = reader.value<uint64_t>();
    range.last = reader.value<uint64_t>();
    if (range.after < before || range.last <= range.after || range.last > known)
      reader.refuse("has ranges that overlap");
    before = range.last;
    ranges.push_back(range);
  }
  return {known, std::move(ranges)};
}

void read_node(Reader& reader, Hnsw& graph, std::vector<uint32_t>& links, std::vector<int8_t>& codes) {
  Hnsw::Image image;
  const auto state = reader.value<uint8_t>();
  if (state > static_cast<uint8_t>(Hnsw::State::kRemoved)) reader.refuse("has a node of no known state");
  image.state = Hnsw::State{state};
  image.facts.sequence = reader.value<uint64_t>();
  image.facts.created = reader.value<int64_t>();
  image.facts.sketch = reader.value<uint64_t>();
  image.scale = reader.value<float>();
  if (!(image.scale >= 0 && image.scale <= 1)) reader.refuse("has a vector that is not of length 1");
  const auto from = reader.bytes(codes.size());
  std::memcpy(codes.data(), from.data(), codes.size());
  for (const int8_t code : codes)
    if (code == INT8_MIN) reader.refuse("has a vector with a value out of range");
  image.codes = codes;
  links.resize(graph.link_count(graph.end()));
  const auto link_bytes = reader.bytes(links.size() * sizeof(uint32_t));
  std::memcpy(links.data(), link_bytes.data(), link_bytes.size());
  image.links = links;
  graph.restore(image);
}

}  // namespace

void write_vector_file(const std::filesystem::path& path, std::string_view model, const Backlog& backlog,
                       const Hnsw& graph) {
  AtomicFile file(path);
  Writer writer(file);
  writer.bytes(kMagic);
  writer.value(static_cast<uint32_t>(graph.options().dimensions));
  writer.value(static_cast<uint32_t>(graph.options().links));
  writer.value(graph.end() - 1);
  writer.value(static_cast<uint32_t>(backlog.ranges().size()));
  model = model.substr(0, kMaxModelName);
  writer.value(static_cast<uint32_t>(model.size()));
  writer.value(backlog.known());
  for (const auto& range : backlog.ranges()) {
    writer.value(range.after);
    writer.value(range.last);
  }
  writer.bytes(model);
  std::vector<uint32_t> links;
  for (uint32_t node = 1; node < graph.end(); ++node) {
    links.resize(graph.link_count(node));
    write_node(writer, graph.image(node, links));
  }
  writer.finish();
  file.commit();
}

VectorFile read_vector_file(std::span<const std::byte> bytes, const HnswOptions& options,
                            std::string_view name) {
  Reader reader(bytes, name);
  const auto magic = reader.bytes(kMagic.size());
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0) reader.refuse("does not begin as one");
  if (reader.left() < sizeof(uint64_t)) reader.refuse("ends too early");
  uint64_t sum = 0;
  std::memcpy(&sum, bytes.last(sizeof sum).data(), sizeof sum);
  if (checksum64(bytes.first(bytes.size() - sizeof sum)) != sum)
    reader.refuse("is damaged: its checksum is another");

  HnswOptions made = options;
  made.dimensions = reader.value<uint32_t>();
  const auto links = reader.value<uint32_t>();
  const auto nodes = reader.value<uint32_t>();
  const auto ranges = reader.value<uint32_t>();
  const auto model_size = reader.value<uint32_t>();
  const auto known = reader.value<uint64_t>();
  if (made.dimensions < 1 || made.dimensions > size_t{1} << 16) reader.refuse("has no sensible dimensions");
  if (ranges > Backlog::kMostRanges || model_size > kMaxModelName) reader.refuse("has no sensible sizes");
  if (links != options.links || nodes > options.most_nodes)
    throw Error(ErrorCode::kUnsupported,
                fmt::format("the file of vectors '{}' has {} vectors with {} links; {} with {} fit", name,
                            nodes, links, options.most_nodes, options.links));
  if (reader.left() / (kNodeHeader + made.dimensions) < nodes) reader.refuse("ends too early");

  VectorFile out;
  out.backlog = read_backlog(reader, known, ranges);
  const auto model = reader.bytes(model_size);
  out.model.assign(reinterpret_cast<const char*>(model.data()), model.size());
  out.graph = std::make_unique<Hnsw>(made);
  std::vector<uint32_t> link_buffer;
  std::vector<int8_t> codes(made.dimensions);
  for (uint32_t node = 0; node < nodes; ++node) read_node(reader, *out.graph, link_buffer, codes);
  if (reader.left() != sizeof sum) reader.refuse("is longer than what it says");
  if (!out.graph->finish_restore()) reader.refuse("has links that lead nowhere");
  return out;
}

}  // namespace fathom::live
