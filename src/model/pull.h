// Fetches models: resumed where a transfer broke off, checked against the server's checksum, complete or not there.
//
// A file grows beside its place as ".NAME.SUM.part", where SUM begins its checksum: what a part belongs to is known, however
// many runs it takes. Within a run a range is asked for only of the same version (If-Range). When all bytes are there and
// have the right checksum, the part is synced and renamed. A failed transfer leaves the part for the next run; a wrong
// checksum removes it. A part is one run's at a time. Waits between tries double from one second; a server's Retry-After is kept to, up to a minute.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/transport.h"
#include "model/hub.h"

namespace fathom::model {

struct PullOptions {
  std::string endpoint = "https://huggingface.co";
  std::string token;
  std::string revision = "main";
  std::filesystem::path
      folder;          // of models: GGUF files go in it, other models in a folder of their name in it
  bool force = false;  // replace files that are there with other content
  int tries = 6;       // of a file without a byte of progress
};

struct PullProgress {
  std::string file;
  uint64_t done = 0, total = 0;  // bytes of all files
};

struct PullResult {
  std::filesystem::path path;  // what `serve --model` takes: the (first) GGUF file or the folder
  std::string commit;
  std::vector<std::filesystem::path> files;
  uint64_t bytes = 0;    // of all files
  uint64_t fetched = 0;  // of them, over the network
};

/// Errors: those of Hub; kInvalidArgument (a file of that name with other content is there), kCorrupt (wrong length or
/// checksum), kNetwork, kDeadlineExceeded (after all tries), kResourceExhausted (the disk is full), kIo, kCancelled.
PullResult pull(const HubName& name, const PullOptions& options, Transport& transport, const Clock& clock,
                const std::function<void(const PullProgress&)>& progress, const std::stop_token& stop);

}  // namespace fathom::model
