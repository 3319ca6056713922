#include "live/store_place.h"

namespace fathom::live {

Place locate(const SegmentList& list, uint64_t key_hash, std::string_view key) {
  for (auto index = list.memory.rbegin(); index != list.memory.rend(); ++index)
    if (const uint32_t number = (*index)->find_key(key_hash, key)) return {index->get(), nullptr, number};
  for (auto segment = list.sealed.rbegin(); segment != list.sealed.rend(); ++segment)
    if (const uint32_t number = (*segment)->find_key(key_hash, key)) return {nullptr, segment->get(), number};
  return {};
}

void prefetch_key(const SegmentList& list, uint64_t key_hash) {
  for (const auto& index : list.memory) index->prefetch_key(key_hash);
  for (const auto& segment : list.sealed) segment->prefetch_key(key_hash);
}

}  // namespace fathom::live
