#include "answer/conversations.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <rocksdb/db.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "answer/conversation_record.h"
#include "base/digest.h"
#include "base/error.h"
#include "live/analysis.h"

namespace fathom::answer {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "1";
constexpr std::string_view kFormatKey = "f", kSecretKey = "s";
constexpr size_t kSecretBytes = 32;
constexpr size_t kMaxOwnerBytes = 1024;
constexpr size_t kOpeningBytes = 120;

std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

std::string random_bytes(size_t count) {
  std::string out(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(count)) != 1)
    throw Error(ErrorCode::kInternal, "the system has no random numbers for a conversation's id");
  return out;
}

std::string fresh_id() {
  std::string out = "conv_";
  for (const char byte : random_bytes(kConversationIdBytes))
    out += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return out;
}

rocksdb::Options database_options() {
  rocksdb::Options options;
  options.create_if_missing = true;
  // A write that a crash tore is the last one; damage before it is an error, not less history.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.keep_log_file_num = 2;
  options.write_buffer_size = size_t{4} << 20;
  options.target_file_size_base = uint64_t{4} << 20;  // what is deleted for good rewrites little else
  options.max_open_files = 256;
  options.compression = rocksdb::kNoCompression;
  return options;
}

class RocksConversations final : public Conversations {
 public:
  RocksConversations(const fs::path& folder, const Clock& clock, const ConversationLimits& limits)
      : folder_(folder), clock_(clock), limits_(limits) {
    rocksdb::DB* opened = nullptr;
    check(rocksdb::DB::Open(database_options(), folder.string(), &opened));
    db_.reset(opened);
    begin();
  }
  ~RocksConversations() override { db_->Close(); }

  Conversation create(const std::string& owner, const std::string& title, const std::string& metadata,
                      const std::vector<ConversationItem>& items) override {
    check_owner(owner);
    const std::lock_guard lock(mutex_);
    if (usage_of(owner).conversations >= limits_.conversations)
      throw_full(fmt::format("{} conversations are kept already; delete some", limits_.conversations));
    ConversationHead head;
    head.conversation.id = fresh_id();
    head.conversation.created = clock_.now();
    set_title(head.conversation, title, metadata);
    rocksdb::WriteBatch batch;
    add_items(owner, head, items, batch);
    write(batch);
    Usage& usage = usage_of(owner);
    ++usage.conversations;
    usage.bytes += head.conversation.bytes;
    return head.conversation;
  }

  std::optional<Conversation> find(const std::string& owner, const std::string& id) const override {
    const auto head = head_of(owner, id);
    return head ? std::optional<Conversation>(head->conversation) : std::nullopt;
  }

  std::optional<Conversation> describe(const std::string& owner, const std::string& id,
                                       const std::string& title, const std::string& metadata) override {
    const std::lock_guard lock(mutex_);
    auto head = head_of(owner, id);
    if (!head) return std::nullopt;
    set_title(head->conversation, title, metadata);
    rocksdb::WriteBatch batch;
    batch.Put(space_of(kHeads, owner) + id, encode(*head));
    write(batch);
    return head->conversation;
  }

  std::optional<Conversation> append(const std::string& owner, const std::string& id,
                                     const std::vector<ConversationItem>& items) override {
    const std::lock_guard lock(mutex_);
    auto head = head_of(owner, id);
    if (!head) return std::nullopt;
    const uint64_t before = head->conversation.bytes;
    rocksdb::WriteBatch batch;
    batch.Delete(order_key(owner, head->conversation));
    add_items(owner, *head, items, batch);
    write(batch);
    usage_of(owner).bytes += head->conversation.bytes - before;
    return head->conversation;
  }

  std::vector<Conversation> list(const std::string& owner, const std::string& after,
                                 size_t limit) const override {
    std::vector<Conversation> out;
    const std::string space = space_of(kOrder, owner);
    const auto from = after.empty() ? std::nullopt : find(owner, after);
    if (!after.empty() && !from) return out;
    const auto it = iterator();
    for (it->Seek(from ? order_key(owner, *from) + '\0' : space);
         it->Valid() && it->key().starts_with(space) && out.size() < limit; it->Next())
      // One that was deleted in this moment is passed over.
      if (const auto found = find(owner, std::string(view(it->key()).substr(space.size() + kNumberBytes))))
        out.push_back(*found);
    check(it->status());
    return out;
  }

  std::vector<FoundConversation> search(const std::string& owner, std::string_view words,
                                        const std::string& after, size_t limit) const override {
    const auto asked = query_hashes(words);
    std::vector<Conversation> matching;
    for (const std::string& id : conversations_with(owner, asked))
      if (const auto found = find(owner, id)) matching.push_back(*found);
    std::sort(matching.begin(), matching.end(), [](const Conversation& a, const Conversation& b) {
      return a.updated != b.updated ? a.updated > b.updated : a.id < b.id;
    });
    auto from = matching.begin();
    if (!after.empty()) {
      from = std::find_if(from, matching.end(), [&](const Conversation& c) { return c.id == after; });
      if (from != matching.end()) ++from;
    }
    std::vector<FoundConversation> out;
    for (; from != matching.end() && out.size() < limit; ++from)
      out.push_back({*from, snippet(owner, from->id, asked)});
    return out;
  }

  std::vector<ConversationItem> items(const std::string& owner, const std::string& id) const override {
    std::vector<ConversationItem> out;
    each_item(owner, id,
              [&](const std::string&, StoredItem stored) { out.push_back(std::move(stored.item)); });
    return out;
  }

  bool remove_item(const std::string& owner, const std::string& id, const std::string& item) override {
    {
      const std::lock_guard lock(mutex_);
      auto head = head_of(owner, id);
      if (!head) return false;
      Conversation& conversation = head->conversation;
      const uint64_t before = conversation.bytes;
      rocksdb::WriteBatch batch;
      bool found = false;
      conversation.opening.clear();
      conversation.items = conversation.turns = conversation.bytes = 0;
      each_item(owner, id, [&](const std::string& key, const StoredItem& stored) {
        if (!found && stored.item.id == item) {
          found = true;
          drop(owner, id, key, stored, batch);
        } else {
          count(conversation, stored);
        }
      });
      if (!found) return false;
      batch.Put(space_of(kHeads, owner) + id, encode(*head));
      Usage& usage = usage_of(owner);
      write(batch);
      usage.bytes -= before - conversation.bytes;
    }
    purge(owner, id);
    return true;
  }

  bool remove(const std::string& owner, const std::string& id) override {
    if (!drop_conversation(owner, id)) return false;
    purge(owner, id);
    return true;
  }

  size_t remove_all(const std::string& owner) override {
    size_t removed = 0;
    for (auto some = list(owner, "", kBatch); !some.empty(); some = list(owner, "", kBatch))
      for (const Conversation& conversation : some)
        removed += drop_conversation(owner, conversation.id) ? 1 : 0;
    purge(owner, "");
    return removed;
  }

  const ConversationLimits& limits() const override { return limits_; }

 private:
  static constexpr size_t kBatch = 256;

  struct Usage {
    size_t conversations = 0;
    uint64_t bytes = 0;
  };

  /// Reads or writes what a new folder begins with.
  void begin() {
    std::string format;
    const auto found = db_->Get({}, key_of(kFormatKey), &format);
    if (found.IsNotFound()) {
      rocksdb::WriteBatch batch;
      batch.Put(key_of(kFormatKey), rocksdb::Slice(kFormat.data(), kFormat.size()));
      batch.Put(key_of(kSecretKey), random_bytes(kSecretBytes));
      write(batch);
    } else {
      check(found);
      if (format != kFormat)
        throw Error(ErrorCode::kUnsupported,
                    fmt::format("the conversations in '{}' have format {}, which this program does not know; "
                                "use the version that wrote them",
                                folder_.string(), format));
    }
    check(db_->Get({}, key_of(kSecretKey), &secret_));
  }

  static rocksdb::Slice key_of(std::string_view key) { return {key.data(), key.size()}; }

  void check(const rocksdb::Status& status) const {
    if (status.ok()) return;
    const std::string detail = status.ToString();
    if (status.IsIOError() && detail.find("lock") != std::string::npos)
      throw Error(ErrorCode::kIo,
                  fmt::format("the conversations in '{}' are in use by another process", folder_.string()));
    if (status.IsIOError())
      throw Error(ErrorCode::kIo,
                  fmt::format("cannot use the conversations in '{}': {}", folder_.string(), detail));
    throw Error(
        ErrorCode::kCorrupt,
        fmt::format("the conversations in '{}' are damaged: {}; restore the folder from a backup, or move "
                    "it away to begin anew",
                    folder_.string(), detail));
  }

  [[noreturn]] static void throw_full(const std::string& sentence) {
    throw Error(ErrorCode::kResourceExhausted, sentence);
  }

  static void check_owner(const std::string& owner) {
    if (owner.size() > kMaxOwnerBytes)
      throw Error(ErrorCode::kInvalidArgument, "the name of a conversation's owner is too long");
  }

  void write(rocksdb::WriteBatch& batch) {
    rocksdb::WriteOptions options;
    options.sync = true;
    check(db_->Write(options, &batch));
  }

  std::unique_ptr<rocksdb::Iterator> iterator() const {
    return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator({}));
  }

  std::optional<ConversationHead> head_of(const std::string& owner, const std::string& id) const {
    if (!is_conversation_id(id) || owner.size() > kMaxOwnerBytes) return std::nullopt;
    std::string bytes;
    const auto status = db_->Get({}, space_of(kHeads, owner) + id, &bytes);
    if (status.IsNotFound()) return std::nullopt;
    check(status);
    return decode_head(id, bytes);
  }

  void set_title(Conversation& conversation, const std::string& title, const std::string& metadata) const {
    if (title.size() + metadata.size() > limits_.metadata_bytes)
      throw_full(fmt::format("the metadata of a conversation may have {} bytes", limits_.metadata_bytes));
    conversation.title = title;
    conversation.metadata = metadata;
  }

  static void count(Conversation& conversation, const StoredItem& stored) {
    ++conversation.items;
    conversation.bytes += stored.bytes();
    if (stored.item.role != "user") return;
    ++conversation.turns;
    if (conversation.opening.empty()) conversation.opening = in_one_line(stored.item.text, kOpeningBytes);
  }

  /// Adds items, and the head that says so.
  void add_items(const std::string& owner, ConversationHead& head, const std::vector<ConversationItem>& items,
                 rocksdb::WriteBatch& batch) {
    Conversation& conversation = head.conversation;
    const uint64_t before = conversation.bytes;
    for (const ConversationItem& item : items) {
      const StoredItem stored{item, item_hashes(item.text)};
      if (stored.bytes() > limits_.item_bytes)
        throw_full(fmt::format("an item of a conversation may have {} bytes", limits_.item_bytes));
      count(conversation, stored);
      std::string number;
      put_number(number, head.next++);
      batch.Put(space_of(kItems, owner) + conversation.id + number, encode(stored));
      for (size_t at = 0; at < stored.hashes.size(); at += kHashDigits)
        batch.Put(word_key(owner, stored.hashes.substr(at, kHashDigits), conversation.id, number), "");
    }
    if (conversation.items > limits_.items || conversation.bytes > limits_.conversation_bytes)
      throw_full(fmt::format("a conversation may have {} items and {} bytes; begin a new one", limits_.items,
                             limits_.conversation_bytes));
    if (usage_of(owner).bytes + conversation.bytes - before > limits_.bytes)
      throw_full(fmt::format("{} bytes of conversations are kept already; delete some", limits_.bytes));
    conversation.updated = std::max(clock_.now(), conversation.updated);
    batch.Put(space_of(kHeads, owner) + conversation.id, encode(head));
    batch.Put(order_key(owner, conversation), "");
  }

  static std::string word_key(const std::string& owner, const std::string& hash, const std::string& id,
                              std::string_view number) {
    return space_of(kWords, owner).append(hash).append(id).append(number);
  }

  static void drop(const std::string& owner, const std::string& id, const std::string& key,
                   const StoredItem& stored, rocksdb::WriteBatch& batch) {
    batch.Delete(key);
    const std::string_view number = std::string_view(key).substr(key.size() - kNumberBytes);
    for (size_t at = 0; at + kHashDigits <= stored.hashes.size(); at += kHashDigits)
      batch.Delete(word_key(owner, stored.hashes.substr(at, kHashDigits), id, number));
  }

  bool drop_conversation(const std::string& owner, const std::string& id) {
    const std::lock_guard lock(mutex_);
    const auto head = head_of(owner, id);
    if (!head) return false;
    rocksdb::WriteBatch batch;
    each_item(owner, id,
              [&](const std::string& key, const StoredItem& stored) { drop(owner, id, key, stored, batch); });
    batch.Delete(order_key(owner, head->conversation));
    batch.Delete(space_of(kHeads, owner) + id);
    Usage& usage = usage_of(owner);
    write(batch);
    --usage.conversations;
    usage.bytes -= head->conversation.bytes;
    return true;
  }

  /// Rewrites the files that hold what was deleted of a conversation (of all the owner's, without an id), and removes those
  /// that it lay in, logs among them.
  void purge(const std::string& owner, const std::string& id) {
    const std::lock_guard lock(purge_);
    check(db_->Flush({}));
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    for (const char space : {kHeads, kItems}) {
      const std::string from = space_of(space, owner) + id, to = behind(from);
      const rocksdb::Slice first(from), last(to);
      check(db_->CompactRange(options, &first, &last));
    }
    // Turned off and on, so that files that nobody needs any more are gone when this returns.
    check(db_->DisableFileDeletions());
    check(db_->EnableFileDeletions(false));
  }

  template <class OnItem>
  void each_item(const std::string& owner, const std::string& id, const OnItem& on_item) const {
    if (!is_conversation_id(id)) return;
    const std::string prefix = space_of(kItems, owner) + id;
    const auto it = iterator();
    for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next())
      on_item(std::string(view(it->key())), decode_item(view(it->value())));
    check(it->status());
  }

  /// REQUIRES: mutex_ held.
  Usage& usage_of(const std::string& owner) {
    const auto [found, fresh] = usage_.try_emplace(owner);
    if (!fresh) return found->second;
    const std::string space = space_of(kHeads, owner);
    const auto it = iterator();
    for (it->Seek(space); it->Valid() && it->key().starts_with(space); it->Next()) {
      ++found->second.conversations;
      found->second.bytes +=
          decode_head(view(it->key()).substr(space.size()), view(it->value())).conversation.bytes;
    }
    check(it->status());
    return found->second;
  }

  std::string hash_of(std::string_view term) const {
    return hmac_sha256(secret_, term).substr(0, kHashDigits);
  }

  /// Of every word that stands in `text`, each once.
  std::string item_hashes(std::string_view text) const {
    std::set<std::string> terms;
    for (live::Term& term : live::analyze(text))
      if (!term.stop) terms.insert(std::move(term.term));
    std::string out;
    for (const std::string& term : terms) out += hash_of(term);
    return out;
  }

  std::set<std::string> query_hashes(std::string_view words) const {
    std::set<std::string> out;
    for (const live::Term& term : live::analyze(words))
      if (!term.stop && !term.extra) out.insert(hash_of(term.term));
    return out;
  }

  /// Ids of those that have all of `hashes`, in some order.
  std::set<std::string> conversations_with(const std::string& owner,
                                           const std::set<std::string>& hashes) const {
    std::optional<std::set<std::string>> out;
    for (const std::string& hash : hashes) {
      const std::string prefix = space_of(kWords, owner) + hash;
      std::set<std::string> with;
      const auto it = iterator();
      for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix);) {
        const std::string_view rest = view(it->key()).substr(prefix.size());
        if (rest.size() <= kNumberBytes) throw_damaged_conversations("a word's entry ends early");
        const std::string id(rest.substr(0, rest.size() - kNumberBytes));
        if (!out || out->contains(id)) with.insert(id);
        it->Seek(behind(prefix + id));  // past its other items
      }
      check(it->status());
      out = std::move(with);
      if (out->empty()) break;
    }
    return out.value_or(std::set<std::string>());
  }

  /// Around the first word that was asked for, in the newest item that has most of them.
  std::string snippet(const std::string& owner, const std::string& id,
                      const std::set<std::string>& hashes) const {
    size_t most = 0;
    std::string best;
    each_item(owner, id, [&](const std::string&, StoredItem stored) {
      size_t has = 0;
      for (size_t at = 0; at + kHashDigits <= stored.hashes.size(); at += kHashDigits)
        has += hashes.contains(stored.hashes.substr(at, kHashDigits)) ? 1 : 0;
      if (has == 0 || has < most) return;
      most = has;
      best = std::move(stored.item.text);
    });
    for (const live::Term& term : live::analyze(best))
      if (!term.stop && hashes.contains(hash_of(term.term))) return around(best, term.begin);
    return {};
  }

  const fs::path folder_;
  const Clock& clock_;
  const ConversationLimits limits_;
  std::unique_ptr<rocksdb::DB> db_;
  std::string secret_;
  std::mutex mutex_;  // of writers: heads are read, changed and written
  std::map<std::string, Usage> usage_;
  std::mutex purge_;  // one at a time
};

}  // namespace

std::unique_ptr<Conversations> Conversations::open(const fs::path& folder, const Clock& clock,
                                                   const ConversationLimits& limits) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    throw Error(ErrorCode::kIo,
                fmt::format("cannot create the folder '{}': {}", folder.string(), failed.message()));
  return std::make_unique<RocksConversations>(folder, clock, limits);
}

}  // namespace fathom::answer
