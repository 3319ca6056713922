// What a Hugging Face-style endpoint holds, and which of it makes a model. The endpoint's answers are not believed: names
// stay below the folder they go to, sizes and checksums have their forms, lists and bodies are bounded.
//
// The protocol (huggingface_hub's HfApi.model_info and hf_hub_url):
//   GET  /api/models/OWNER/NAME/revision/REV?blobs=true   {"sha", "siblings": [{"rfilename", "size", "blobId",
//                                                          "lfs": {"sha256" | "oid", "size"}}]}
//   HEAD /OWNER/NAME/resolve/REV/FILE   X-Linked-Etag or ETag: "SHA-256" of a large file, or Git's SHA-1 of a small one
//   GET  /OWNER/NAME/resolve/REV/FILE   the bytes, perhaps after redirects to another host; ranges
// The token goes in an Authorization header over https, or to this machine, and to no other host; it stands in no message.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/transport.h"

namespace fathom::model {

/// OWNER/NAME[:FILE]; FILE may be a format instead ("Q4_K_M").
struct HubName {
  std::string owner, name, file;
  std::string repository() const { return owner + "/" + name; }
};

/// Errors: kInvalidArgument.
HubName parse_hub_name(std::string_view text);

struct HubFile {
  std::string name;  // with folders: "Q4_K_M/model-00001-of-00002.gguf"
  std::optional<uint64_t> size;
  std::string sha256;    // 64 hexadecimal digits, or empty
  std::string git_sha1;  // 40: SHA-1 of "blob SIZE\0" and the bytes; or empty
};

struct HubListing {
  std::string commit;  // the revision's, or its name where the server does not say
  std::vector<HubFile> files;
};

/// Reads the answer about a repository. Errors: kCorrupt (not of its form; a name that would leave the folder).
HubListing parse_listing(std::string_view json, const std::string& repository, const std::string& revision);

/// What to fetch: the file that is named (all parts of it), or that is of the named format; else the one GGUF file, or by
/// preference Q4_K_M, then the nearest; else the safetensors with everything that belongs to them.
/// Errors: kNotFound, kInvalidArgument (more than one would do: listed), kUnsupported (no model that could be read).
std::vector<HubFile> choose_files(const HubListing& listing, const HubName& name);

/// A relative path of plain names: no "..", no empty piece, no backslash, no control character.
bool is_safe_path(std::string_view path);

class Hub {
 public:
  /// `transport` outlives it. Errors: kInvalidArgument for an endpoint that is no http(s) address.
  Hub(Transport& transport, std::string endpoint, std::string token);

  /// Errors: kNotFound, kUnauthenticated, kPermissionDenied, kNetwork, kCorrupt, ...
  HubListing list(const HubName& name, const std::string& revision, const std::stop_token& stop);

  /// Completes size and checksum of a file whose listing lacks them. Errors: as `list`; kUnsupported when the server gives no
  /// checksum.
  void complete(const HubName& name, const std::string& commit, HubFile& file, const std::stop_token& stop);

  /// A request for the bytes of a file, with what opens the door to it.
  HttpRequest request(const HubName& name, const std::string& commit, const std::string& file) const;

  /// The sentence for a status of 400 or above. `what` names what was asked for.
  [[noreturn]] void refuse(const HttpResponse& response, const std::string& what) const;

 private:
  HttpRequest plain_request(const std::string& url) const;

  Transport& transport_;
  std::string endpoint_;  // without a slash at the end
  std::string host_;
  std::string token_;
  bool sends_token_ = false;
};

}  // namespace fathom::model
