// Which addresses are on the internet at large (IANA's registries of special-purpose addresses, RFC 6890). Pure.
#pragma once

#include <string_view>

namespace fathom {

/// False for loopback, private, link-local, shared, multicast, documentation and reserved addresses, IPv4 ones carried in
/// IPv6 among them, and for what is no IPv4 or IPv6 literal.
bool is_public_address(std::string_view literal);

}  // namespace fathom
