#include <fmt/format.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "live/source.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

using Cursors = std::map<std::string, std::string, std::less<>>;

class CursorFile final : public CursorStore {
 public:
  CursorFile(std::filesystem::path path, Cursors cursors)
      : path_(std::move(path)), cursors_(std::move(cursors)) {}

  std::string load(std::string_view source) const override {
    const std::lock_guard lock(mutex_);
    const auto found = cursors_.find(source);
    return found == cursors_.end() ? std::string() : found->second;
  }

  void save(std::string_view source, std::string_view cursor) override {
    const std::lock_guard lock(mutex_);
    cursors_.insert_or_assign(std::string(source), std::string(cursor));
  }

  void sync() override {
    const std::lock_guard writing(writing_);  // an older state must not replace a newer one
    std::string text;
    {
      const std::lock_guard lock(mutex_);
      text = nlohmann::json(cursors_).dump(2, ' ', true, nlohmann::json::error_handler_t::replace);
    }
    write_file_atomic(path_, text + "\n");
  }

 private:
  const std::filesystem::path path_;
  std::mutex writing_;
  mutable std::mutex mutex_;
  Cursors cursors_;
};

Cursors read_cursors(const std::filesystem::path& path) {
  const auto json = nlohmann::json::parse(read_file(path, kMaxFileBytes));
  return json.get<Cursors>();
}

}  // namespace

std::unique_ptr<CursorStore> open_cursor_file(const std::filesystem::path& path) {
  Cursors cursors;
  try {
    cursors = read_cursors(path);
  } catch (const nlohmann::json::exception& error) {
    const auto aside = path.string() + ".corrupt";
    std::error_code ignored;
    std::filesystem::rename(path, aside, ignored);
    log().warn(
        "'{}' does not hold the places where the sources stopped ({}); it is now '{}', and they start over",
        path.string(), error.what(), aside);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
  }
  return std::make_unique<CursorFile>(path, std::move(cursors));
}

}  // namespace fathom::live
