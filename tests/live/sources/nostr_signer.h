// Signed Nostr events for tests (BIP-340 over OpenSSL; the nonce is a digest, good for nothing but tests).
#pragma once

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/digest.h"
#include "live/sources/nostr_event.h"

namespace fathom::test {

class NostrSigner {
 public:
  /// Another key for each number above 0.
  explicit NostrSigner(int number) : secret_(number_of(number)), point_(EC_POINT_new(group())) {
    multiply(secret_, point_);
    if (is_odd(point_)) BN_sub(secret_.get(), EC_GROUP_get0_order(group()), secret_.get());
    pubkey_ = x_of(point_);
  }

  const std::string& pubkey() const { return pubkey_; }

  live::NostrEvent event(int64_t kind, int64_t created_at, const std::string& content,
                         std::vector<std::vector<std::string>> tags = {}) const {
    live::NostrEvent event;
    event.pubkey = pubkey_;
    event.created_at = created_at;
    event.kind = kind;
    event.tags = std::move(tags);
    event.content = content;
    event.id = live::nostr_event_id(event);
    event.sig = sign(event.id);
    return event;
  }

  /// `message`: 32 bytes in hexadecimal.
  std::string sign(const std::string& message) const {
    const Number k(number_of_hex(sha256(hex(secret_) + message)));
    const Point r(EC_POINT_new(group()));
    multiply(k, r);
    if (is_odd(r)) BN_sub(k.get(), EC_GROUP_get0_order(group()), k.get());
    const std::string tag = bytes(sha256("BIP0340/challenge"));
    const Number e(number_of_hex(sha256(tag + tag + bytes(x_of(r) + pubkey_ + message))));
    const Number s(BN_new());
    const std::unique_ptr<BN_CTX, decltype(&BN_CTX_free)> scratch(BN_CTX_new(), BN_CTX_free);
    BN_mod_mul(s.get(), e.get(), secret_.get(), EC_GROUP_get0_order(group()), scratch.get());
    BN_mod_add(s.get(), s.get(), k.get(), EC_GROUP_get0_order(group()), scratch.get());
    return x_of(r) + hex(s);
  }

 private:
  struct Free {
    void operator()(BIGNUM* number) const { BN_free(number); }
    void operator()(EC_POINT* point) const { EC_POINT_free(point); }
    void operator()(EC_GROUP* group) const { EC_GROUP_free(group); }
  };
  using Number = std::unique_ptr<BIGNUM, Free>;
  using Point = std::unique_ptr<EC_POINT, Free>;

  const EC_GROUP* group() const { return group_.get(); }
  static BIGNUM* number_of(int value) {
    BIGNUM* number = BN_new();
    BN_set_word(number, static_cast<BN_ULONG>(value));
    return number;
  }
  static BIGNUM* number_of_hex(const std::string& text) {
    BIGNUM* number = nullptr;
    BN_hex2bn(&number, text.c_str());
    return number;
  }
  static std::string sha256(const std::string& data) {
    Digest digest(DigestKind::kSha256);
    digest.update(data);
    return digest.finish();
  }
  static std::string bytes(const std::string& hex) {
    std::string out;
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
      out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return out;
  }
  static std::string hex(const Number& number) {
    unsigned char raw[32];
    BN_bn2binpad(number.get(), raw, sizeof raw);
    std::string out;
    for (const unsigned char byte : raw) {
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    }
    return out;
  }
  void multiply(const Number& factor, const Point& result) const {
    EC_POINT_mul(group(), result.get(), factor.get(), nullptr, nullptr, nullptr);
  }
  bool is_odd(const Point& point) const {
    const Number x(BN_new()), y(BN_new());
    EC_POINT_get_affine_coordinates(group(), point.get(), x.get(), y.get(), nullptr);
    return BN_is_odd(y.get()) != 0;
  }
  std::string x_of(const Point& point) const {
    const Number x(BN_new());
    EC_POINT_get_affine_coordinates(group(), point.get(), x.get(), nullptr, nullptr);
    return hex(x);
  }

  std::unique_ptr<EC_GROUP, Free> group_{EC_GROUP_new_by_curve_name(NID_secp256k1)};
  Number secret_;
  Point point_;
  std::string pubkey_;
};

inline std::string nostr_json(const live::NostrEvent& event) {
  return nlohmann::json{{"id", event.id},     {"pubkey", event.pubkey}, {"created_at", event.created_at},
                        {"kind", event.kind}, {"tags", event.tags},     {"content", event.content},
                        {"sig", event.sig}}
      .dump();
}

/// As a relay sends it.
inline std::string nostr_message(const live::NostrEvent& event) {
  return "[\"EVENT\",\"fathom\"," + nostr_json(event) + "]";
}

}  // namespace fathom::test
