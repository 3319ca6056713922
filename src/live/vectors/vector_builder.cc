#include "live/vectors/vector_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "live/analysis.h"
#include "live/vectors/vector_file.h"

namespace fathom::live {
namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kIdle = 200ms;                          // between two looks at a quiet store
constexpr auto kGlance = 5ms;                          // between two looks at who needs the processor
constexpr size_t kBusyRest = 9;                        // times as long as it worked
constexpr auto kLongestWay = 1s;                       // given to those who ask
constexpr size_t kSweptBusy = 128, kSweptIdle = 2048;  // nodes looked after at a time
constexpr size_t kAttempts = 3;                        // at posts that the embedder fails on
constexpr auto kLongestBackOff = 60'000ms;
constexpr auto kRateWindow = 5s;
constexpr uint64_t kReach =
    2;  // sequences of replaced posts count too: looked back by so many times most_posts

/// Some more than are kept, so that links are led around removed nodes now and then, not all the time.
size_t room_for(const VectorOptions& options) {
  return options.most_posts + options.most_posts / 8 + 2 * options.batch;
}

uint64_t sketch_of(std::string_view text) {
  thread_local TokenList tokens;
  analyze(text, tokens);
  return sketch(tokens);
}

/// Sleeps for `time`, in short steps; false: stopped, or `go_on` no longer holds.
template <class GoOn>
bool rest(std::chrono::nanoseconds time, const std::stop_token& stop, GoOn go_on) {
  for (const auto end = steady_clock::now() + time; steady_clock::now() < end;) {
    if (stop.stop_requested() || !go_on()) return false;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(time, kGlance));
  }
  return true;
}

}  // namespace

std::optional<Post> find_post(const Store& store, uint64_t sequence) {
  auto found = store.tail(sequence - 1, 1);
  if (found.empty() || found.front().sequence != sequence) return std::nullopt;
  return std::move(found.front().post);
}

VectorBuilder::VectorBuilder(const Store& store, TextEmbedder& embedder, const VectorOptions& options)
    : store_(store),
      embedder_(embedder),
      options_(options),
      path_(options.folder / "posts.vectors"),
      saved_(steady_clock::now()),
      rate_since_(saved_) {
  load();
  if (!graph_) {
    backlog_ = {};
    graph_ = std::make_unique<Hnsw>(
        HnswOptions{embedder.dimensions(), room_for(options), options.links, options.build_candidates});
  }
  for (uint32_t node = 1; node < graph_->end(); ++node) {
    if (graph_->state(node) != Hnsw::State::kLive) continue;
    const VectorFacts& facts = graph_->facts(node);
    oldest_.emplace(facts.sequence, node);
    copies_.add(facts.sketch, facts.sequence);
  }
  tell();
}

/// Leaves graph_ empty where there is no file of this model and this store.
void VectorBuilder::load() {
  if (!std::filesystem::exists(path_)) return;
  try {
    const MappedFile mapped(path_);
    const HnswOptions wanted{embedder_.dimensions(), room_for(options_), options_.links,
                             options_.build_candidates};
    VectorFile file = read_vector_file(mapped.bytes(), wanted, path_.string());
    if (file.model != embedder_.name() || file.graph->options().dimensions != embedder_.dimensions()) {
      log().info("the vectors in '{}' are of the model {}; they are made anew with {}", path_.string(),
                 file.model, embedder_.name());
    } else if (file.backlog.known() > store_.stats().last_sequence) {
      log().warn("the vectors in '{}' are of another feed; they are made anew", path_.string());
    } else {
      graph_ = std::move(file.graph);
      backlog_ = std::move(file.backlog);
    }
  } catch (const Error& error) {
    log().error("{}; the vectors are made anew", error.what());
  }
}

void VectorBuilder::save() {
  if (!changed_) return;
  try {
    write_vector_file(path_, embedder_.name(), backlog_, *graph_);
    changed_ = false;
  } catch (const Error& error) {
    log().error("the vectors could not be kept: {}", error.what());
  }
  saved_ = steady_clock::now();
}

void VectorBuilder::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      step(stop);
    } catch (const std::exception& error) {  // of the store: what can be read is read later
      log().error("vectors: {}", error.what());
      rest(1s, stop, [] { return true; });
    }
  }
}

void VectorBuilder::step(const std::stop_token& stop) {
  if (!make_room(stop)) return;
  backlog_.extend(store_.stats().last_sequence, floor());
  tell();  // before the work: posts in hand are waiting until they can be found
  const auto range = backlog_.take(options_.batch);
  if (!range) {
    sweep(kSweptIdle);
    store_.wait_for(backlog_.known(), kIdle, stop);
  } else {
    try {
      auto fresh = read(*range);
      const auto begin = steady_clock::now();
      if (!embed(fresh, stop)) backlog_.give_back(*range);
      give_way(steady_clock::now() - begin, stop);
    } catch (...) {
      backlog_.give_back(*range);
      throw;
    }
    changed_ = true;
    sweep(kSweptBusy);
    tell();
  }
  if (steady_clock::now() - saved_ > options_.save_every) save();
}

/// The posts of a range that are worth a vector.
std::vector<VectorBuilder::Fresh> VectorBuilder::read(const Backlog::Range& range) {
  const auto text_of = [&](uint64_t sequence) -> std::optional<std::string> {
    auto post = find_post(store_, sequence);
    if (!post) return std::nullopt;
    return std::move(post->text);
  };
  std::vector<Fresh> fresh;
  size_t copies = 0;
  for (auto& [sequence, post] : store_.tail(range.after, range.last - range.after)) {
    if (sequence > range.last) break;
    const uint64_t sketch = sketch_of(post.text);
    if (sketch == 0) continue;  // no words
    if (copies_.repeats(sequence, sketch, post.text, text_of)) {
      ++copies;
      continue;
    }
    copies_.add(sketch, sequence);
    fresh.push_back({{sequence, post.created_at.time_since_epoch().count(), sketch}, std::move(post.text)});
  }
  const std::lock_guard lock(mutex_);
  status_.copies += copies;
  return fresh;
}

/// False: to be tried again.
bool VectorBuilder::embed(std::vector<Fresh>& fresh, const std::stop_token& stop) {
  if (fresh.empty()) return true;
  std::vector<std::string> texts;
  for (Fresh& each : fresh) texts.push_back(std::move(each.text));
  const size_t size = embedder_.dimensions();
  std::vector<float> vectors;
  try {
    vectors = embedder_.embed(texts, false, stop);
  } catch (const std::exception& error) {
    return failed(fresh.size(), error.what(), stop);
  }
  if (vectors.size() != fresh.size() * size)
    return failed(fresh.size(),
                  fmt::format("{} values for {} texts of {}", vectors.size(), fresh.size(), size), stop);
  failures_ = 0;
  for (size_t i = 0; i < fresh.size(); ++i) add(std::span(vectors).subspan(i * size, size), fresh[i].facts);
  count_rate(fresh.size());
  return true;
}

/// Waits a while, longer each time. False: to be tried again; true: it was tried often enough, or the thread is to stop.
bool VectorBuilder::failed(size_t posts, std::string_view why, const std::stop_token& stop) {
  if (stop.stop_requested()) return false;
  ++failures_;
  const bool last = failures_ % kAttempts == 0;
  log().error("the embedding model {} failed on {} posts{}: {}", embedder_.name(), posts,
              last ? ", which are left out" : "", why);
  if (last) {
    const std::lock_guard lock(mutex_);
    status_.failed += posts;
  }
  rest(std::min<std::chrono::milliseconds>(kLongestBackOff,
                                           100ms * (uint64_t{1} << std::min<size_t>(failures_, 12))),
       stop, [] { return true; });
  return last;
}

void VectorBuilder::add(std::span<const float> vector, const VectorFacts& facts) {
  if (graph_->posts() >= options_.most_posts) {
    drop_gone();
    if (oldest_.top().first > facts.sequence) return;
    graph_->remove(oldest_.top().second);
    oldest_.pop();
  }
  oldest_.emplace(facts.sequence, graph_->add(vector, facts));
}

/// Afterwards the top is a post that is in the graph, or there is none.
void VectorBuilder::drop_gone() {
  const auto gone = [&](const auto& entry) {
    return graph_->state(entry.second) != Hnsw::State::kLive ||
           graph_->facts(entry.second).sequence != entry.first;
  };
  while (!oldest_.empty() && gone(oldest_.top())) oldest_.pop();
}

/// Posts up to here are not wanted: too far back, or older than all that are kept.
uint64_t VectorBuilder::floor() {
  const uint64_t reach = kReach * options_.most_posts;
  const uint64_t far = backlog_.known() > reach ? backlog_.known() - reach : 0;
  drop_gone();
  const bool full = graph_->posts() >= options_.most_posts && !oldest_.empty();
  return full ? std::max(far, oldest_.top().first) : far;
}

/// For the posts of a batch. False: stopped.
bool VectorBuilder::make_room(const std::stop_token& stop) {
  const bool many = graph_->removed() > graph_->posts() / 4 + kSweptIdle;
  if (!many && graph_->room() >= options_.batch) return true;
  changed_ = true;
  return graph_->relink(stop);
}

/// Looks whether the posts of the next nodes are still there, if anything has changed since all were looked at.
void VectorBuilder::sweep(size_t nodes) {
  if (sweep_at_ == 1) {
    const StoreStats stats = store_.stats();
    sweeping_change_ = stats.last_sequence + stats.dropped;
    if (sweeping_change_ == swept_change_) return;
  }
  for (; nodes > 0 && sweep_at_ < graph_->end(); --nodes, ++sweep_at_) {
    if (graph_->state(sweep_at_) != Hnsw::State::kLive) continue;
    const VectorFacts& facts = graph_->facts(sweep_at_);
    const auto post = find_post(store_, facts.sequence);
    if (post && post->created_at.time_since_epoch().count() == facts.created) continue;
    graph_->remove(sweep_at_);
    changed_ = true;
  }
  if (sweep_at_ < graph_->end()) return;
  sweep_at_ = 1;
  swept_change_ = sweeping_change_;
}

/// Leaves the processor to those who ask, and most of it to others who need it.
void VectorBuilder::give_way(std::chrono::nanoseconds worked, const std::stop_token& stop) const {
  if (asking_ > 0) rest(kLongestWay, stop, [&] { return asking_ > 0; });
  if (options_.busy && options_.busy()) rest(kBusyRest * worked, stop, options_.busy);
}

void VectorBuilder::count_rate(size_t posts) {
  rate_posts_ += posts;
  const auto now = steady_clock::now();
  if (now - rate_since_ < kRateWindow) return;
  const std::lock_guard lock(mutex_);
  status_.per_second =
      static_cast<double>(rate_posts_) / std::chrono::duration<double>(now - rate_since_).count();
  rate_since_ = now;
  rate_posts_ = 0;
}

void VectorBuilder::tell() {
  if (backlog_.waiting() == 0) count_rate(0);
  {
    const std::lock_guard lock(mutex_);
    read_through_ = backlog_.read_through();
    status_.waiting = backlog_.waiting();
  }
  told_.notify_all();
}

VectorIndex::Status VectorBuilder::status() const {
  const std::lock_guard lock(mutex_);
  VectorIndex::Status status = status_;
  status.posts = graph_->posts();
  status.bytes = graph_->bytes();
  return status;
}

bool VectorBuilder::wait_for(uint64_t sequence, std::chrono::milliseconds wait) const {
  std::unique_lock lock(mutex_);
  return told_.wait_for(lock, wait, [&] { return read_through_ >= sequence; });
}

}  // namespace fathom::live
