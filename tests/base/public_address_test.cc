// Addresses at the edges of the special-purpose blocks, and signatures of RFC 4231.
#include "base/public_address.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/transport.h"

namespace fathom {
namespace {

TEST(PublicAddress, TellsTheInternetFromTheRest) {
  for (const char* address : {"8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
                              "126.1.1.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "223.255.255.255",
                              "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"})
    EXPECT_TRUE(is_public_address(address)) << address;
  for (const char* address : {"0.0.0.0",
                              "10.0.0.1",
                              "100.64.0.1",
                              "127.0.0.1",
                              "127.255.255.255",
                              "169.254.169.254",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "198.18.0.1",
                              "224.0.0.1",
                              "255.255.255.255",
                              "::",
                              "::1",
                              "::ffff:127.0.0.1",
                              "::ffff:10.0.0.1",
                              "fc00::1",
                              "fd12::1",
                              "fe80::1",
                              "ff02::1",
                              "64:ff9b::7f00:1",
                              "2002:7f00:1::",
                              "2001:db8::1",
                              "::127.0.0.1",
                              "example.com",
                              "",
                              "1.2.3",
                              "0x7f.1"})
    EXPECT_FALSE(is_public_address(address)) << address;
}

TEST(Transport, PublicOnlyRefusesThisMachine) {
  HttpRequest request;
  request.url = "http://127.0.0.1:9/";
  request.public_only = true;
  try {
    make_transport()->fetch(request, {});
    FAIL() << "connected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kPermissionDenied);
  }
}

TEST(Hmac, AgreesWithRfc4231) {
  EXPECT_EQ(hmac_sha256("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hmac_sha256(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

}  // namespace
}  // namespace fathom
