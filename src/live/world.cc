#include "live/world.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "live/world/generator.h"

namespace fathom::live {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool bounded_left(std::string_view text, size_t at, char first) {
  if (at == 0 || !is_word(first)) return true;
  const char before = text[at - 1];
  if (is_word(before)) return false;
  const bool point = before == '.' || before == ',';
  return !(point && is_digit(first) && at >= 2 && is_digit(text[at - 2]));
}

bool bounded_right(std::string_view text, size_t end, char last) {
  if (end == text.size() || !is_word(last)) return true;
  const char after = text[end];
  if (is_word(after)) return false;
  const bool point = after == '.' || after == ',';
  return !(point && is_digit(last) && end + 1 < text.size() && is_digit(text[end + 1]));
}

nlohmann::json to_json(const WorldFact& fact) {
  nlohmann::json out = {{"id", fact.id},
                        {"key", fact.key},
                        {"storyline", fact.storyline},
                        {"subject", fact.subject},
                        {"attribute", fact.attribute},
                        {"value", fact.value},
                        {"accepted", fact.accepted},
                        {"valid_from", format_time(fact.valid_from)},
                        {"valid_to", nullptr},
                        {"posts", fact.posts},
                        {"false", fact.is_false},
                        {"corrected_by", fact.corrected_by}};
  if (fact.valid_to) out["valid_to"] = format_time(*fact.valid_to);
  return out;
}

nlohmann::json to_json(const WorldQuestion& question) {
  return {{"id", question.id},
          {"kind", question.kind},
          {"storyline", question.storyline},
          {"lang", question.lang},
          {"asked_at", format_time(question.asked_at)},
          {"question", question.question},
          {"answers", question.answers},
          {"gold_posts", question.gold_posts},
          {"fact", question.fact.empty() ? nlohmann::json(nullptr) : nlohmann::json(question.fact)}};
}

}  // namespace

Time world_day() {
  using namespace std::chrono;
  return Time(sys_days(year(2031) / May / 14));
}

World generate_world(const WorldOptions& options) {
  return world::build_world(world::load_scenarios(options.scenarios), options);
}

nlohmann::json to_json(const WorldTruth& truth) {
  nlohmann::json out = {{"seed", truth.seed},
                        {"version", truth.version},
                        {"fiction", true},
                        {"day", format_time(world_day())},
                        {"storylines", nlohmann::json::array()},
                        {"facts", nlohmann::json::array()},
                        {"questions", nlohmann::json::array()},
                        {"accounts", nlohmann::json::array()}};
  for (const WorldStoryline& story : truth.storylines) {
    out["storylines"].push_back({{"id", story.id}, {"title", story.title}});
  }
  for (const WorldFact& fact : truth.facts) out["facts"].push_back(to_json(fact));
  for (const WorldQuestion& question : truth.questions) out["questions"].push_back(to_json(question));
  for (const WorldAccount& account : truth.accounts) {
    out["accounts"].push_back({{"handle", account.handle},
                               {"name", account.name},
                               {"kind", account.kind},
                               {"bio", account.bio},
                               {"followers", account.followers}});
  }
  return out;
}

void write_world(const World& world, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kIo, "cannot make the folder " + folder.string() + ": " + error.message());
  }
  std::string lines;
  for (const Post& post : world.posts) {
    lines += to_json(post).dump();
    lines += '\n';
  }
  write_file_atomic(folder / "posts.ndjson", lines);
  write_file_atomic(folder / "truth.json", to_json(world.truth).dump(1) + "\n");
}

bool states(std::string_view text, std::string_view answer) {
  if (answer.empty()) return false;
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  for (auto at = text.begin();; ++at) {
    at = std::search(at, text.end(), answer.begin(), answer.end(), same);
    if (at == text.end()) return false;
    const auto begin = static_cast<size_t>(at - text.begin());
    if (bounded_left(text, begin, answer.front()) &&
        bounded_right(text, begin + answer.size(), answer.back())) {
      return true;
    }
  }
}

}  // namespace fathom::live
