// live: the file source on hostile files: lines, zstd frames, and the cursor from which it goes on.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "live/sources/file_source.h"

namespace {

class CountingSink final : public fathom::live::Sink {
 public:
  explicit CountingSink(std::string cursor) : cursor_(std::move(cursor)) {}
  std::string cursor() const override { return cursor_; }
  bool deliver(fathom::live::Post post) override {
    FATHOM_CHECK(post.text.size() <= fathom::live::kMaxTextBytes);
    return ++posts_ < 1000;
  }
  void advance(std::string cursor) override { cursor_ = std::move(cursor); }
  void set_live() override {}
  void reject(std::string_view) override {}
  void warn(std::string_view) override {}

 private:
  std::string cursor_;
  int posts_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = ::memfd_create("feed", MFD_CLOEXEC);
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) return 0;
  const fathom::ManualClock clock;
  fathom::live::FileSourceOptions options;
  options.path = path;
  options.pace = fathom::live::Pace::kFeed;
  options.lead_fraction = 0.5;
  std::string cursor;
  for (int round = 0; round < 2; ++round) {
    CountingSink sink(cursor);
    try {
      fathom::live::make_file_source(options, clock)->run(sink, {});
    } catch (const fathom::Error&) {  // a damaged frame, named
    }
    cursor = sink.cursor();
  }
  return 0;
}
