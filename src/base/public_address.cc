#include "base/public_address.h"

#include <boost/asio/ip/address.hpp>
#include <string>

namespace fathom {
namespace {

using boost::asio::ip::address_v4;
using boost::asio::ip::address_v6;

struct Block {
  uint32_t first;
  unsigned bits;
};

constexpr uint32_t ip(uint32_t a, uint32_t b, uint32_t c) { return a << 24 | b << 16 | c << 8; }

constexpr Block kSpecial[] = {
    {ip(0, 0, 0), 8},      {ip(10, 0, 0), 8},     {ip(100, 64, 0), 10}, {ip(127, 0, 0), 8},
    {ip(169, 254, 0), 16}, {ip(172, 16, 0), 12},  {ip(192, 0, 0), 24},  {ip(192, 0, 2), 24},
    {ip(192, 88, 99), 24}, {ip(192, 168, 0), 16}, {ip(198, 18, 0), 15}, {ip(198, 51, 100), 24},
    {ip(203, 0, 113), 24}, {ip(224, 0, 0), 3},
};

bool is_public(const address_v4& address) {
  const uint32_t value = address.to_uint();
  for (const Block& block : kSpecial)
    if (((value ^ block.first) >> (32 - block.bits)) == 0) return false;
  return true;
}

address_v4 embedded(const address_v6::bytes_type& bytes, size_t at) {
  return address_v4({bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]});
}

bool begins_with(const address_v6::bytes_type& bytes, std::string_view prefix) {
  for (size_t i = 0; i < prefix.size(); ++i)
    if (bytes[i] != static_cast<unsigned char>(prefix[i])) return false;
  return true;
}

bool is_public(const address_v6& address) {
  using std::string_view_literals::operator""sv;
  const auto bytes = address.to_bytes();
  if (begins_with(bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff"sv))
    return is_public(embedded(bytes, 12));  // IPv4-mapped
  if (begins_with(bytes, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0"sv)) return is_public(embedded(bytes, 12));  // NAT64
  if (begins_with(bytes, "\x20\x02"sv)) return is_public(embedded(bytes, 2));                         // 6to4
  if (begins_with(bytes, "\x20\x01\x0d\xb8"sv) || begins_with(bytes, "\x20\x01\0\0"sv)) return false;
  return (bytes[0] & 0xE0) == 0x20;  // global unicast: 2000::/3
}

}  // namespace

bool is_public_address(std::string_view literal) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(literal), error);
  if (error) return false;
  return address.is_v4() ? is_public(address.to_v4()) : is_public(address.to_v6());
}

}  // namespace fathom
