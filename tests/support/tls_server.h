// An HTTPS server on loopback for tests, with a certificate made on the spot, and a way to have it trusted.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/file.h"
#include "support/http_server.h"

namespace fathom::test {

class TlsServer {
 public:
  /// A self-signed certificate for `names`, e.g. "IP:127.0.0.1".
  explicit TlsServer(const char* names, HttpServer::Handler handler) {
    key_.reset(EVP_RSA_gen(2048));
    certificate_.reset(X509_new());
    X509* x = certificate_.get();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key_.get());
    X509_NAME* name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1,
                               -1, 0);
    X509_set_issuer_name(x, name);
    add_extension(NID_subject_alt_name, names);
    add_extension(NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(x, key_.get(), EVP_sha256());
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets whose other end may have gone
    context_.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context_.get(), x);
    SSL_CTX_use_PrivateKey(context_.get(), key_.get());
    server_ = std::make_unique<HttpServer>(std::move(handler), [this](int fd) { return wrap(fd); });
  }

  std::string pem() const {
    BIO* memory = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(memory, certificate_.get());
    char* data = nullptr;
    const long size = BIO_get_mem_data(memory, &data);
    std::string text(data, static_cast<size_t>(size));
    BIO_free(memory);
    return text;
  }
  uint16_t port() const { return server_->port(); }
  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(server_->port()) + "/";
  }

 private:
  template <auto kFree>
  struct Free {
    template <class T>
    void operator()(T* object) const {
      kFree(object);
    }
  };

  class Stream final : public ByteStream {
   public:
    explicit Stream(SSL* ssl) : ssl_(ssl) {}
    ~Stream() override {
      SSL_shutdown(ssl_);
      SSL_free(ssl_);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    long read(char* data, size_t size) override { return SSL_read(ssl_, data, static_cast<int>(size)); }
    bool write(std::string_view bytes) override {
      return bytes.empty() || SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
    }

   private:
    SSL* ssl_;
  };

  void add_extension(int kind, const char* value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    X509_add_ext(certificate_.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }

  std::unique_ptr<ByteStream> wrap(int fd) {
    SSL* ssl = SSL_new(context_.get());
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) return std::make_unique<Stream>(ssl);
    SSL_free(ssl);
    return nullptr;
  }

  std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key_;
  std::unique_ptr<X509, Free<X509_free>> certificate_;
  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_;
  std::unique_ptr<HttpServer> server_;
};

/// Makes OpenSSL take one file for the system's certificates while it lives.
class TrustedFile {
 public:
  explicit TrustedFile(const std::string& pem) {
    write_file_atomic(folder_.path() / "ca.pem", pem);
    ::setenv("SSL_CERT_FILE", (folder_.path() / "ca.pem").c_str(), 1);
  }
  ~TrustedFile() { ::unsetenv("SSL_CERT_FILE"); }
  TrustedFile(const TrustedFile&) = delete;
  TrustedFile& operator=(const TrustedFile&) = delete;

 private:
  TempDir folder_;
};

}  // namespace fathom::test
