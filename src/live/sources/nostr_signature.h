// Schnorr signatures on secp256k1 as Nostr uses them (BIP-340), checked with OpenSSL.
//
// Thread-safe: a checker has only what never changes.
#pragma once

#include <memory>
#include <string_view>

namespace fathom::live {

class NostrSignatures {
 public:
  NostrSignatures();
  ~NostrSignatures();

  /// Whether `signature` (64 bytes) is that of the 32 bytes `message` by the owner of `pubkey` (32 bytes), all in lower-case
  /// hexadecimal. False for anything ill-formed.
  bool verify(std::string_view pubkey, std::string_view message, std::string_view signature) const;

 private:
  struct Curve;
  std::unique_ptr<Curve> curve_;
};

}  // namespace fathom::live
