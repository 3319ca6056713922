#include "live/packed_record.h"

#include <algorithm>

#include "live/record_bytes.h"

namespace fathom::live {
namespace {

constexpr int kStrings = 8;  // of a record between its flags and its counts

size_t varint_size(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

int64_t received_of(std::string_view record) {
  RecordReader last(record.substr(record.size() - kReceivedBytes));
  return last.fixed_time().time_since_epoch().count();
}

}  // namespace

size_t pack_record(std::string_view record, int64_t created, bool with_source, char* memory) {
  RecordReader in(record);
  RecordWriter out(memory);
  in.byte();  // the version
  const std::string_view key = in.string();
  out.string(with_source ? key : key.substr(key.find(':') + 1));
  out.string(in.string());
  // Wraps around at the ends of time, and back in `unpack_record`.
  const auto later = static_cast<uint64_t>(received_of(record)) - static_cast<uint64_t>(created);
  out.varint(zigzag(static_cast<int64_t>(later)));
  out.byte(in.byte());
  char* mask = out.at();
  out.byte(0);
  unsigned present = 0;
  for (int i = 0; i < kStrings; ++i) {
    const std::string_view value = in.string();
    if (value.empty()) continue;
    present |= 1u << i;
    out.string(value);
  }
  *mask = static_cast<char>(present);
  const size_t times = varint_size(zigzag(created)) + kReceivedBytes;
  FATHOM_CHECK(in.rest().size() >= times);
  out.bytes(in.rest().substr(0, in.rest().size() - times));
  return static_cast<size_t>(out.at() - memory);
}

std::string unpack_record(std::string_view packed, std::string_view source, int64_t created) {
  RecordReader in(packed);
  const std::string_view id = in.string();
  const std::string_view text = in.string();
  std::string record(packed.size() + source.size() + 1 + kStrings + 4 * kMostVarint, '\0');
  RecordWriter out(record.data());
  out.byte(1);
  if (source.empty()) {
    out.string(id);
  } else {
    out.varint(source.size() + 1 + id.size());
    out.bytes(source);
    out.byte(':');
    out.bytes(id);
  }
  out.string(text);
  const uint64_t received = static_cast<uint64_t>(created) + static_cast<uint64_t>(in.signed_varint());
  out.byte(in.byte());
  const unsigned present = in.byte();
  for (int i = 0; i < kStrings; ++i)
    out.string(((present >> i) & 1u) != 0 ? in.string() : std::string_view());
  out.bytes(in.rest());
  out.varint(zigzag(created));
  for (size_t i = 0; i < kReceivedBytes; ++i) out.byte(static_cast<unsigned>(received >> (8 * i)) & 0xFFu);
  record.resize(static_cast<size_t>(out.at() - record.data()));
  return record;
}

std::string_view packed_id(std::string_view packed) { return RecordReader(packed).string(); }

std::string_view packed_text(std::string_view packed) {
  RecordReader in(packed);
  in.string();
  return in.string();
}

}  // namespace fathom::live
