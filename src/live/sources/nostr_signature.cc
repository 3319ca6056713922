#include "live/sources/nostr_signature.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

#include <array>
#include <string>

#include "base/digest.h"
#include "base/error.h"
#include "live/sources/nostr_event.h"

namespace fathom::live {
namespace {

template <auto Release>
struct Free {
  template <class T>
  void operator()(T* pointer) const {
    Release(pointer);
  }
};
using Number = std::unique_ptr<BIGNUM, Free<BN_free>>;
using Point = std::unique_ptr<EC_POINT, Free<EC_POINT_free>>;
using Scratch = std::unique_ptr<BN_CTX, Free<BN_CTX_free>>;

Number number(const uint8_t* bytes, int size) { return Number(BN_bin2bn(bytes, size, nullptr)); }

std::string_view view(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

std::array<uint8_t, 32> sha256(std::string_view bytes) {
  Digest digest(DigestKind::kSha256);
  digest.update(bytes);
  return bytes_of_hex<32>(digest.finish()).value();
}

/// The digest of BIP-340 under the tag "BIP0340/challenge".
std::array<uint8_t, 32> challenge(std::string_view r, std::string_view key, std::string_view message) {
  const auto tag = sha256("BIP0340/challenge");
  std::string bytes(view(tag.data(), tag.size()));
  bytes += bytes;
  return sha256(bytes.append(r).append(key).append(message));
}

}  // namespace

struct NostrSignatures::Curve {
  std::unique_ptr<EC_GROUP, Free<EC_GROUP_free>> group{EC_GROUP_new_by_curve_name(NID_secp256k1)};
};

NostrSignatures::NostrSignatures() : curve_(std::make_unique<Curve>()) {
  if (!curve_->group)
    throw Error(ErrorCode::kUnsupported, "this build of OpenSSL has no secp256k1, which Nostr signs with");
}

NostrSignatures::~NostrSignatures() = default;

bool NostrSignatures::verify(std::string_view pubkey, std::string_view message,
                             std::string_view signature) const {
  const auto key = bytes_of_hex<32>(pubkey), text = bytes_of_hex<32>(message);
  const auto sig = bytes_of_hex<64>(signature);
  if (!key || !text || !sig) return false;
  const EC_GROUP* group = curve_->group.get();
  const Scratch scratch(BN_CTX_new());
  const BIGNUM* order = EC_GROUP_get0_order(group);
  const Number r = number(sig->data(), 32), s = number(sig->data() + 32, 32), x = number(key->data(), 32);
  if (!r || !s || !x || BN_cmp(s.get(), order) >= 0) return false;

  // R = s G - e P, where P is the point of this x whose y is even.
  const Point p(EC_POINT_new(group)), found(EC_POINT_new(group));
  if (EC_POINT_set_compressed_coordinates(group, p.get(), x.get(), 0, scratch.get()) != 1) return false;
  const auto digest = challenge(view(sig->data(), 32), view(key->data(), 32), view(text->data(), 32));
  const Number e = number(digest.data(), 32), minus_e(BN_new());
  if (!e || BN_nnmod(e.get(), e.get(), order, scratch.get()) != 1 ||
      BN_mod_sub(minus_e.get(), order, e.get(), order, scratch.get()) != 1 ||
      EC_POINT_mul(group, found.get(), s.get(), p.get(), minus_e.get(), scratch.get()) != 1 ||
      EC_POINT_is_at_infinity(group, found.get()) == 1)
    return false;

  const Number found_x(BN_new()), found_y(BN_new());
  return EC_POINT_get_affine_coordinates(group, found.get(), found_x.get(), found_y.get(), scratch.get()) ==
             1 &&
         BN_is_odd(found_y.get()) == 0 && BN_cmp(found_x.get(), r.get()) == 0;
}

}  // namespace fathom::live
