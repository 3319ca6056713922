// The files of STATE that no other target reads: any bytes as standing.json, its journal, cursors.json, sources.toml, keys.toml,
// a manifest, the list of removed posts, the changes of a segment. The first byte says which. What was read is written and read
// again.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "live/manifest.h"
#include "live/removed_keys.h"
#include "live/segment/changes.h"
#include "live/source.h"
#include "live/sources/config.h"
#include "live/trends/standing_file.h"
#include "server/keys.h"

namespace {

namespace live = fathom::live;

/// A file that only this process sees.
class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : fd_(::memfd_create("state", MFD_CLOEXEC)) {
    if (fd_ < 0 || ::write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      std::abort();
  }
  ~Bytes() { ::close(fd_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void read_manifest(std::string_view body) {
  char line[40];
  std::snprintf(line, sizeof line, "checksum %016llx\n",
                static_cast<unsigned long long>(fathom::checksum64(body)));
  const std::string whole = std::string(body) + line;
  const live::Manifest manifest = live::parse_manifest(whole);
  FATHOM_CHECK(live::encode_manifest(live::parse_manifest(live::encode_manifest(manifest))) ==
               live::encode_manifest(manifest));
}

void read_removed(std::string_view body) {
  std::string whole(body);
  const uint64_t sum = fathom::checksum64(body);
  whole.append(reinterpret_cast<const char*>(&sum), sizeof sum);
  const live::RemovedKeys keys = live::RemovedKeys::decode(whole);
  FATHOM_CHECK(live::RemovedKeys::decode(keys.encode()).size() == keys.size());
}

/// A journal beside no file: whatever its lines hold, those that can be read are.
void read_journal(std::string_view bytes) {
  static const fathom::TempDir folder;
  const std::filesystem::path file = folder.path() / "standing.json", journal = file.string() + ".new";
  const Bytes content(bytes);
  std::filesystem::remove(journal);
  std::filesystem::create_symlink(content.path(), journal);
  live::read_standing(file);
}

void read_changes(std::string_view bytes) {
  constexpr uint32_t kDocuments = 1'000;
  live::DecodedChanges changes;
  if (!live::decode_changes(bytes, kDocuments, changes)) return;
  for (const auto& death : changes.deaths) FATHOM_CHECK(death.number >= 1 && death.number <= kDocuments);
  for (const auto& counted : changes.counts)
    FATHOM_CHECK(counted.number >= 1 && counted.number <= kDocuments);
}

void read(uint8_t kind, std::string_view bytes) {
  switch (kind % 8) {
    case 0: live::read_standing(Bytes(bytes).path()); break;
    case 1: live::open_cursor_file(Bytes(bytes).path()); break;
    case 2: live::read_sources(Bytes(bytes).path()); break;
    case 3: fathom::server::read_keys(Bytes(bytes).path()); break;
    case 4: read_manifest(bytes); break;
    case 5: read_removed(bytes); break;
    case 6: read_changes(bytes); break;
    default: read_journal(bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    read(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
  return 0;
}
