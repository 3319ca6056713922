#include "live/segment/changes.h"

#include <algorithm>
#include <limits>

#include "live/segment/format.h"

namespace fathom::live {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

/// The block of a number, made when it is not there yet.
template <class Block>
Block& block_at(std::atomic<Block*>& place) {
  Block* block = place.load(kRelaxed);
  if (block == nullptr) {
    block = std::make_unique<Block>().release();  // owned by the table, which frees it
    place.store(block, std::memory_order_release);
  }
  return *block;
}

int64_t total(const std::optional<int64_t>& count, int32_t more) {
  return std::max<int64_t>(0, count.value_or(0) + more);
}

}  // namespace

void count_in(const Metrics& metrics, const CountChange& sums, DocumentFacts& facts) {
  const int64_t likes = total(metrics.likes, sums.likes);
  const double all = static_cast<double>(likes) + static_cast<double>(total(metrics.reposts, sums.reposts)) +
                     static_cast<double>(total(metrics.replies, sums.replies));
  facts.likes = static_cast<uint32_t>(std::min<int64_t>(likes, std::numeric_limits<uint32_t>::max()));
  facts.engagement = log_steps(all);
}

void count_in(Metrics& metrics, const CountChange& sums) {
  if (sums.likes != 0) metrics.likes = total(metrics.likes, sums.likes);
  if (sums.reposts != 0) metrics.reposts = total(metrics.reposts, sums.reposts);
  if (sums.replies != 0) metrics.replies = total(metrics.replies, sums.replies);
}

SegmentChanges::SegmentChanges(uint32_t documents)
    : blocks_((documents >> kBlockBits) + 1),
      deaths_(std::make_unique<std::atomic<Deaths*>[]>(blocks_)),
      counts_(std::make_unique<std::atomic<Counts*>[]>(blocks_)) {}

SegmentChanges::~SegmentChanges() {
  for (uint32_t i = 0; i < blocks_; ++i) {
    std::unique_ptr<Deaths>(deaths_[i].load(kRelaxed));
    std::unique_ptr<Counts>(counts_[i].load(kRelaxed));
  }
}

CountChange SegmentChanges::counts(uint32_t number) const {
  CountChange sums;
  const Counts* block = counts_[number >> kBlockBits].load(std::memory_order_acquire);
  if (block == nullptr) return sums;
  sums.likes = block->likes[number & kMask].load(kRelaxed);
  sums.reposts = block->reposts[number & kMask].load(kRelaxed);
  sums.replies = block->replies[number & kMask].load(kRelaxed);
  return sums;
}

bool SegmentChanges::bury(uint32_t number, uint64_t sequence) {
  std::atomic<uint64_t>& death = block_at(deaths_[number >> kBlockBits])[number & kMask];
  if (death.load(kRelaxed) != 0) return false;
  death.store(sequence, kRelaxed);
  return true;
}

void SegmentChanges::set_counts(uint32_t number, const CountChange& sums, uint32_t likes,
                                uint8_t engagement) {
  Counts& block = block_at(counts_[number >> kBlockBits]);
  const uint32_t place = number & kMask;
  block.likes[place].store(sums.likes, kRelaxed);
  block.reposts[place].store(sums.reposts, kRelaxed);
  block.replies[place].store(sums.replies, kRelaxed);
  block.now[place].store(likes | uint64_t{engagement} << 32 | kPresent, kRelaxed);
}

std::string SegmentChanges::encode() const {
  DecodedChanges all;
  for (uint32_t i = 0; i < blocks_; ++i) {
    const Deaths* deaths = deaths_[i].load(std::memory_order_acquire);
    const Counts* counts = counts_[i].load(std::memory_order_acquire);
    for (uint32_t j = 0; j < kBlock; ++j) {
      const uint32_t number = (i << kBlockBits) + j;
      if (deaths != nullptr)
        if (const uint64_t sequence = (*deaths)[j].load(kRelaxed); sequence != 0)
          all.deaths.push_back({number, sequence});
      if (counts != nullptr && counts->now[j].load(kRelaxed) != 0)
        all.counts.push_back({number, this->counts(number)});
    }
  }
  return encode_changes(all);
}

std::string encode_changes(const DecodedChanges& changes) {
  std::string out;
  uint32_t last = 0;
  put_varint(out, changes.deaths.size());
  for (const auto& death : changes.deaths) {
    put_varint(out, death.number - last);
    put_varint(out, death.sequence);
    last = death.number;
  }
  last = 0;
  put_varint(out, changes.counts.size());
  for (const auto& counted : changes.counts) {
    put_varint(out, counted.number - last);
    for (const int32_t sum : {counted.sums.likes, counted.sums.reposts, counted.sums.replies})
      put_varint(out, zigzag(sum));
    last = counted.number;
  }
  return out;
}

bool decode_changes(std::string_view bytes, uint32_t documents, DecodedChanges& out) {
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
  ByteReader in(begin, begin + bytes.size());
  const auto next_number = [&](uint64_t& last) {
    const uint64_t rise = in.varint();
    if (rise == 0 || rise > documents - last) return false;
    last += rise;
    return in.ok();
  };
  uint64_t last = 0;
  for (uint64_t left = in.varint(); left > 0; --left) {
    if (!next_number(last)) return false;
    out.deaths.push_back({static_cast<uint32_t>(last), in.varint()});
  }
  last = 0;
  for (uint64_t left = in.varint(); left > 0; --left) {
    if (!next_number(last)) return false;
    DecodedChanges::Counted counted;
    counted.number = static_cast<uint32_t>(last);
    for (int32_t* sum : {&counted.sums.likes, &counted.sums.reposts, &counted.sums.replies})
      *sum = static_cast<int32_t>(unzigzag(in.varint()));
    out.counts.push_back(counted);
  }
  return in.ok() && in.left() == 0;
}

}  // namespace fathom::live
