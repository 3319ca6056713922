// A map that holds at most so many entries and forgets those that were not asked for longest, roughly: two generations, of which
// the older one goes when the younger is full.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>

namespace fathom::live {

template <class Key, class Value>
class RecentMap {
 public:
  explicit RecentMap(size_t most) : half_(most / 2) {}

  void set(Key key, Value value) {
    old_.erase(key);
    young_.insert_or_assign(std::move(key), std::move(value));
    if (young_.size() < half_) return;
    old_ = std::move(young_);
    young_ = {};
  }

  /// Valid until the next call that is not const; null when it is unknown.
  const Value* find(const Key& key) {
    if (const auto found = old_.find(key); found != old_.end()) {
      Value value = std::move(found->second);
      set(key, std::move(value));
    }
    if (const auto found = young_.find(key); found != young_.end()) return &found->second;
    const auto found = old_.find(key);  // the younger generation has just become the older
    return found == old_.end() ? nullptr : &found->second;
  }

  void erase(const Key& key) {
    young_.erase(key);
    old_.erase(key);
  }

  size_t size() const { return young_.size() + old_.size(); }

 private:
  const size_t half_;
  std::unordered_map<Key, Value> young_, old_;
};

}  // namespace fathom::live
