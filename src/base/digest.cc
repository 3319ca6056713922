#include "base/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/error.h"

namespace fathom {
namespace {

std::string hexadecimal(const unsigned char* bytes, unsigned size) {
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += fmt::format("{:02x}", bytes[i]);
  return out;
}

}  // namespace

struct Digest::State {
  State() : context(EVP_MD_CTX_new()) {}
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  EVP_MD_CTX* context;
};

Digest::Digest(DigestKind kind) : state_(std::make_unique<State>()) {
  const EVP_MD* algorithm = kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1();
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, algorithm, nullptr) != 1)
    throw Error(ErrorCode::kInternal, "OpenSSL has no such digest");
}

Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(std::string_view bytes) {
  FATHOM_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1,
               "a digest takes any bytes");
}

std::string Digest::finish() {
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  FATHOM_CHECK(EVP_DigestFinal_ex(state_->context, value, &size) == 1, "a digest ends once");
  return hexadecimal(value, size);
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  FATHOM_CHECK(
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), value, &size) != nullptr,
      "HMAC takes any bytes");
  return hexadecimal(value, size);
}

}  // namespace fathom
