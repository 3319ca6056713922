#include "live/sources/x_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // all but the later bytes of a character
  }));
}

json parse(std::string_view text) {
  json value = json::parse(text, nullptr, false);
  if (!value.is_object()) throw Error(ErrorCode::kCorrupt, "X answered about its rules with no JSON object");
  return value;
}

}  // namespace

std::vector<std::string> check_x_rules(const std::vector<std::string>& wanted) {
  std::vector<std::string> rules;
  for (const auto& rule : wanted) {
    const std::string value(trim(rule));
    if (value.empty()) throw Error(ErrorCode::kInvalidArgument, "a rule of the source is empty");
    if (!is_valid_utf8(value) || characters(value) > kMaxXRuleCharacters)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the rule '{}...' is longer than the {} characters that X takes",
                              sanitize_utf8(value.substr(0, 40)), kMaxXRuleCharacters));
    if (std::find(rules.begin(), rules.end(), value) == rules.end()) rules.push_back(value);
  }
  if (rules.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "the filtered stream needs rules: give the option 'rules', such as \"from:nasa\"");
  if (rules.size() > kMaxXRules)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{} rules are more than the {} that X takes", rules.size(), kMaxXRules));
  return rules;
}

XRulesPage parse_x_rules(std::string_view text) {
  const json value = parse(text);
  XRulesPage page;
  const json& data = member(value, "data");  // absent when there are none
  for (size_t i = 0; data.is_array() && i < std::min(data.size(), kMaxXRules); ++i) {
    XRule rule{std::string(text_of(data[i], "id")), std::string(text_of(data[i], "value")),
               std::string(text_of(data[i], "tag"))};
    if (!rule.id.empty() && !rule.value.empty()) page.rules.push_back(std::move(rule));
  }
  page.next_token = text_of(member(value, "meta"), "next_token");
  return page;
}

XRulesChange plan_x_rules(const std::vector<std::string>& wanted, const std::vector<XRule>& present,
                          std::string_view tag) {
  const std::set<std::string_view> wanted_values(wanted.begin(), wanted.end());
  std::set<std::string_view> kept;
  XRulesChange change;
  for (const XRule& rule : present) {
    if (rule.tag == tag && !wanted_values.contains(rule.value))
      change.remove.push_back(rule.id);
    else
      kept.insert(rule.value);
  }
  for (const auto& value : wanted)
    if (!kept.contains(value)) change.add.push_back(value);
  const size_t total = present.size() - change.remove.size() + change.add.size();
  if (total > kMaxXRules)
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format("the X account has {} rules of other programs; with {} more it would have over {}",
                    present.size() - change.remove.size(), change.add.size(), kMaxXRules));
  return change;
}

std::string x_rules_to_add(const std::vector<std::string>& values, std::string_view tag) {
  json rules = json::array();
  for (const auto& value : values) rules.push_back({{"value", value}, {"tag", std::string(tag)}});
  return json{{"add", std::move(rules)}}.dump();
}

std::string x_rules_to_remove(const std::vector<std::string>& ids) {
  return json{{"delete", {{"ids", ids}}}}.dump();
}

std::string x_rules_refused(std::string_view text) {
  const json value = json::parse(text, nullptr, false);
  const json& errors = member(value, "errors");
  if (!errors.is_array()) return {};
  for (const json& error : errors) {
    const std::string_view title = text_of(error, "title");
    if (title == "DuplicateRule") continue;
    std::string why;
    const json& details = member(error, "details");
    if (details.is_array() && !details.empty()) why = text_of(details[0]);
    if (why.empty()) why = text_of(error, "detail");
    return fmt::format("X refused the rule '{}': {}{}{}", text_of(error, "value"), title,
                       why.empty() ? "" : ": ", why);
  }
  return {};
}

}  // namespace fathom::live
