#include "answer/eval_questions.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "answer/extract.h"
#include "answer/generate.h"
#include "answer/plan.h"
#include "answer/retrieve.h"
#include "base/error.h"
#include "base/file.h"
#include "base/line_reader.h"

namespace fathom::answer {
namespace {

using nlohmann::json;

constexpr size_t kLongestLine = size_t{4} << 20;
constexpr size_t kBatch = 2000;

std::vector<std::string> strings(const json& from, const char* key) {
  return from.contains(key) ? from.at(key).get<std::vector<std::string>>() : std::vector<std::string>();
}

/// The facts of a truth.json by the key that all values of one figure share.
std::multimap<std::string, EvalFact> read_facts(const json& content) {
  std::multimap<std::string, EvalFact> out;
  if (!content.is_object() || !content.contains("facts")) return out;
  for (const json& fact : content["facts"]) {
    out.emplace(fact.at("key").get<std::string>(),
                EvalFact{strings(fact, "accepted"), strings(fact, "posts")});
  }
  return out;
}

/// "storm.gust.2" is a value of "storm.gust".
std::vector<EvalFact> provenance_of(const json& from, const std::multimap<std::string, EvalFact>& facts) {
  std::vector<EvalFact> out;
  if (!from.contains("fact") || !from["fact"].is_string()) return out;
  const std::string id = from["fact"].get<std::string>();
  const auto [begin, end] = facts.equal_range(id.substr(0, id.rfind('.')));
  for (auto fact = begin; fact != end; ++fact) out.push_back(fact->second);
  return out;
}

EvalQuestion read_question(const json& from) {
  EvalQuestion out;
  out.question = from.at("question").get<std::string>();
  out.answers = from.at("answers").get<std::vector<std::string>>();
  out.id = from.value("id", "");
  out.kind = from.value("kind", out.answers.empty() ? "no_answer" : "");
  out.storyline = from.value("storyline", "");
  out.lang = from.value("lang", "");
  out.gold_posts = strings(from, "gold_posts");
  if (from.contains("asked_at")) {
    out.asked_at = parse_time(from["asked_at"].get<std::string>());
    if (!out.asked_at) throw Error(ErrorCode::kCorrupt, "asked_at is not a time");
  }
  return out;
}

bool asked_before(const EvalQuestion& a, const EvalQuestion& b) {
  if (!a.asked_at || !b.asked_at) return a.asked_at.has_value() && !b.asked_at.has_value();
  return *a.asked_at < *b.asked_at;
}

}  // namespace

std::vector<EvalQuestion> read_questions(const std::filesystem::path& path) {
  const json content = json::parse(read_file(path), nullptr, false);
  const json& list = content.is_object() && content.contains("questions") ? content["questions"] : content;
  if (!list.is_array())
    throw Error(ErrorCode::kCorrupt,
                fmt::format("'{}' is neither a list of questions nor the truth.json of a sample world",
                            path.string()));
  const auto facts = read_facts(content);
  std::vector<EvalQuestion> out;
  for (const json& entry : list) {
    try {
      out.push_back(read_question(entry));
      out.back().provenance = provenance_of(entry, facts);
    } catch (const std::exception& error) {
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("'{}': question {} cannot be read: {}; it needs \"question\", a string, and "
                              "\"answers\", a list of strings",
                              path.string(), out.size() + 1, error.what()));
    }
  }
  std::ranges::stable_sort(out, asked_before);
  return out;
}

std::vector<live::Post> read_feed(const std::vector<std::filesystem::path>& files) {
  std::vector<live::Post> out;
  for (const auto& file : files) {
    LineReader lines(file.string(), kLongestLine);
    std::string line;
    for (auto result = lines.next(line, {}); result != LineReader::Result::kEnd;
         result = lines.next(line, {})) {
      if (result != LineReader::Result::kLine || line.empty()) continue;
      try {
        out.push_back(live::parse_post(line, Time{}, "file"));
      } catch (const Error&) {
        continue;
      }
    }
  }
  std::ranges::stable_sort(out, {}, &live::Post::created_at);
  return out;
}

void replay(std::vector<live::Post> posts, const std::vector<EvalQuestion>& questions, live::Store& store,
            const std::function<void(const EvalQuestion&)>& ask) {
  auto next = posts.begin();
  const auto ingest_until = [&](const std::optional<Time>& moment) {
    while (next != posts.end() && (!moment || next->created_at <= *moment)) {
      std::vector<live::Post> batch;
      while (next != posts.end() && batch.size() < kBatch && (!moment || next->created_at <= *moment))
        batch.push_back(std::move(*next++));
      store.ingest(std::move(batch));
    }
  };
  for (const EvalQuestion& question : questions) {
    ingest_until(question.asked_at);
    ask(question);
  }
}

Shown shown_for(const live::Store& store, const std::string& question) {
  Shown out;
  out.as_of = store.feed_time();
  const Plan plan = plan_question(question, out.as_of);
  out.question = plan.resolved;
  Reading reading = read_posts(store, plan, SearchParameters{}, {});
  std::vector<ChosenQuote> quotes = choose_quotes(plan, reading);
  arrange(plan, SearchParameters{}.max_results, reading, quotes);
  for (const Evidence* evidence : cited_posts(reading, quotes)) out.posts.push_back(evidence->post);
  return out;
}

}  // namespace fathom::answer
