// A record (codec.h) as the index keeps it in memory: without what the columns of its document hold, and without the empty
// strings that most posts have several of. Lossless: `unpack_record` gives the record back byte for byte.
//
// Packed: id | text | time of receipt less time of the post (zig-zag) | flags byte | a bit for each of the eight strings that is not
// empty | those strings | the record's bytes from the counts to the tags. Strings as in codec.h. The source, the time of the post
// and the version are left out; where the columns do not know the source, the whole key stands for the id.
//
// Pure functions; views point into the packed bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::live {

/// Writes to memory with room for `packed_room(record)` bytes, returns how many it took. `created` is the record's own time of the
/// post, in microseconds; `with_source`: the whole key is kept. REQUIRES: a record that encode_record wrote.
size_t pack_record(std::string_view record, int64_t created, bool with_source, char* out);
inline size_t packed_room(std::string_view record) { return record.size() + 16; }

/// `source` is empty where the packed record has the whole key.
std::string unpack_record(std::string_view packed, std::string_view source, int64_t created);

std::string_view packed_id(std::string_view packed);
std::string_view packed_text(std::string_view packed);

}  // namespace fathom::live
