// Cryptographic digests, piece by piece (FIPS 180-4), and HMAC. Not thread-safe; a value of its own for each stream of bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace fathom {

enum class DigestKind { kSha256, kSha1 };  // SHA-1 only where a protocol prescribes it: Git's names of files

class Digest {
 public:
  explicit Digest(DigestKind kind);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void update(std::string_view bytes);
  /// In lower-case hexadecimal. Ends the digest.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// HMAC with SHA-256 (RFC 2104), in lower-case hexadecimal.
std::string hmac_sha256(std::string_view key, std::string_view message);

}  // namespace fathom
