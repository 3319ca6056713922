#include "server/keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/digest.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/toml.h"

namespace fathom::server {
namespace {

namespace fs = std::filesystem;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kKeyBytes = 32, kDigestDigits = 64, kMostKeys = 10'000;
constexpr int64_t kMostPerMinute = 1'000'000;
constexpr auto kLookAgain = std::chrono::seconds(1);
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool is_digest(std::string_view text) {
  return text.size() == kDigestDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

ApiKey read_key(const TomlTable& table) {
  table.allow({"name", "sha256", "role", "requests_per_minute", "created"});
  ApiKey key;
  key.name = table.text("name");
  key.sha256 = table.text("sha256");
  if (!is_digest(key.sha256)) table.error("sha256", "a key's SHA-256 has 64 lower-case hexadecimal digits");
  key.role = static_cast<Role>(table.choice_or("role", 0, {"reader", "poster", "admin"}));
  if (table.has("requests_per_minute"))
    key.requests_per_minute = static_cast<uint32_t>(table.integer("requests_per_minute", 1, kMostPerMinute));
  if (const auto created = parse_time(table.text_or("created", ""))) key.created = *created;
  return key;
}

std::vector<std::shared_ptr<KeyHolder>> holders(const std::vector<ApiKey>& keys) {
  std::vector<std::shared_ptr<KeyHolder>> out;
  for (const ApiKey& key : keys) out.push_back(std::make_shared<KeyHolder>(key));
  return out;
}

}  // namespace

std::string_view to_string(Role role) {
  constexpr std::string_view kNames[] = {"reader", "poster", "admin"};
  return kNames[static_cast<size_t>(role)];
}

Role parse_role(std::string_view text) {
  for (const Role role : {Role::kReader, Role::kPoster, Role::kAdmin})
    if (text == to_string(role)) return role;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("'{}' is no role; give reader, poster or admin", text));
}

std::vector<ApiKey> read_keys(const fs::path& file) {
  std::vector<ApiKey> keys;
  if (!fs::exists(file)) return keys;
  const TomlTable table = TomlTable::read(file);
  table.allow({"key"});
  std::set<std::string> names;
  for (const TomlTable& entry : table.tables("key")) {
    keys.push_back(read_key(entry));
    if (!names.insert(keys.back().name).second) entry.error("name", "two keys have this name");
    if (keys.size() > kMostKeys) entry.error(fmt::format("more than {} keys", kMostKeys));
  }
  return keys;
}

void write_keys(const fs::path& file, const std::vector<ApiKey>& keys) {
  std::string out =
      "# API keys of this server: their digests, not the keys. 'fathom keys --help' tells more.\n";
  for (const ApiKey& key : keys) {
    out += fmt::format("\n[[key]]\nname = \"{}\"\nsha256 = \"{}\"\nrole = \"{}\"\n", key.name, key.sha256,
                       to_string(key.role));
    if (key.requests_per_minute) out += fmt::format("requests_per_minute = {}\n", *key.requests_per_minute);
    out += fmt::format("created = \"{}\"\n", format_time(key.created));
  }
  write_file_atomic(file, out);
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
}

std::string make_key() {
  unsigned char bytes[kKeyBytes];
  if (RAND_bytes(bytes, kKeyBytes) != 1)
    throw Error(ErrorCode::kInternal, "the system has no random numbers for a key");
  std::string key = "fathom-";
  uint32_t held = 0;
  int bits = 0;
  for (const unsigned char byte : bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 6; bits -= 6) key += kAlphabet[(held >> (bits - 6)) & 63];
  }
  key += kAlphabet[(held << (6 - bits)) & 63];
  return key;
}

std::string key_digest(std::string_view key) {
  Digest digest(DigestKind::kSha256);
  digest.update(key);
  return digest.finish();
}

RateLimit::Decision RateLimit::take(SteadyTime now) {
  const std::lock_guard lock(mutex_);
  const double per_second = per_minute_ / 60.0;
  if (last_ != SteadyTime{})
    tokens_ = std::min<double>(per_minute_,
                               tokens_ + per_second * std::chrono::duration<double>(now - last_).count());
  last_ = now;
  Decision decision;
  decision.limit = per_minute_;
  decision.allowed = tokens_ >= 1;
  if (decision.allowed) tokens_ -= 1;
  decision.remaining = static_cast<uint32_t>(tokens_);
  if (tokens_ < 1)
    decision.wait =
        std::chrono::milliseconds(static_cast<int64_t>(std::ceil(1000 * (1 - tokens_) / per_second)));
  return decision;
}

KeyRing::KeyRing(const std::vector<std::string>& plain, fs::path file) : file_(std::move(file)) {
  for (const std::string& key : plain) {
    ApiKey entry;
    entry.sha256 = key_digest(key);
    plain_.push_back(std::make_shared<KeyHolder>(entry));
  }
  if (file_.empty()) return;
  read_ = version();
  looked_ = std::chrono::steady_clock::now();
  named_ = holders(read_keys(file_));
}

std::shared_ptr<KeyHolder> KeyRing::find(std::string_view key) {
  const std::string digest = key_digest(key);
  const std::lock_guard lock(mutex_);
  look_again();
  std::shared_ptr<KeyHolder> found;
  for (const auto* holders_of : {&plain_, &named_})
    for (const auto& holder : *holders_of)
      if (CRYPTO_memcmp(holder->key.sha256.data(), digest.data(), digest.size()) == 0) found = holder;
  return found;
}

bool KeyRing::empty() {
  const std::lock_guard lock(mutex_);
  look_again();
  return plain_.empty() && named_.empty();
}

KeyRing::Version KeyRing::version() const {
  struct stat about {};
  if (::stat(file_.c_str(), &about) != 0) return {};
  return {about.st_mtim.tv_sec, about.st_mtim.tv_nsec, about.st_ino, static_cast<uint64_t>(about.st_size)};
}

/// Holders of keys that stay keep what is left of their rate.
void KeyRing::look_again() {
  const auto now = std::chrono::steady_clock::now();
  if (file_.empty() || now - looked_ < kLookAgain) return;
  looked_ = now;
  const Version found = version();
  if (found == read_) return;
  read_ = found;
  try {
    auto fresh = holders(read_keys(file_));
    for (auto& holder : fresh)
      for (const auto& old : named_)
        if (old->key.sha256 == holder->key.sha256 && old->key.name == holder->key.name &&
            old->key.role == holder->key.role &&
            old->key.requests_per_minute == holder->key.requests_per_minute)
          holder = old;
    named_ = std::move(fresh);
    log().info("{} named API keys are in force", named_.size());
  } catch (const Error& error) {
    log().error("the API keys stay those that they were: {}", error.what());
  }
}

}  // namespace fathom::server
