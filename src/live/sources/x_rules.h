// The rules of X's filtered stream (https://docs.x.com/x-api/posts/filtered-stream): which ones an account has, and what
// it takes to make them those that are wanted. Pure functions.
//
// An account may have rules of other programs: only those with our tag are ever removed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::live {

struct XRule {
  std::string id, value, tag;
};

inline constexpr size_t kMaxXRules = 1000;
inline constexpr size_t kMaxXRuleCharacters = 1024;

/// The rules that a configured source asks for, without surrounding spaces and repetitions. Errors: kInvalidArgument (none,
/// too many, too long, empty).
std::vector<std::string> check_x_rules(const std::vector<std::string>& wanted);

struct XRulesPage {
  std::vector<XRule> rules;
  std::string next_token;
};
/// The answer to GET .../rules. Errors: kCorrupt.
XRulesPage parse_x_rules(std::string_view json);

struct XRulesChange {
  std::vector<std::string> add;     // values
  std::vector<std::string> remove;  // ids
};
/// What turns `present` into `wanted`. A wanted value that is there under another tag is left as it is: X allows no two
/// rules of one value. Errors: kResourceExhausted when the account would have too many.
XRulesChange plan_x_rules(const std::vector<std::string>& wanted, const std::vector<XRule>& present,
                          std::string_view tag);

/// The bodies of POST .../rules.
std::string x_rules_to_add(const std::vector<std::string>& values, std::string_view tag);
std::string x_rules_to_remove(const std::vector<std::string>& ids);

/// What X refused of a POST, in a sentence; empty when it took everything. A repetition is no refusal.
std::string x_rules_refused(std::string_view json);

}  // namespace fathom::live
