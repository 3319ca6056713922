#include "live/retrieval_eval.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/line_reader.h"
#include "base/text.h"

namespace fathom::live {
namespace {

constexpr size_t kLongestLine = 4096;

[[noreturn]] void damaged(std::string_view name, uint64_t line, std::string_view why) {
  throw Error(ErrorCode::kCorrupt, fmt::format("{}, line {}: {}", sanitize_utf8(name), line, why));
}

/// Up to `N` fields of a line; what is left over counts as one more. Returns how many there are.
template <size_t N>
size_t fields_of(std::string_view line, std::array<std::string_view, N>& fields) {
  constexpr std::string_view kSpace = " \t\r";
  size_t count = 0;
  for (size_t at = line.find_first_not_of(kSpace); at != line.npos;) {
    const size_t end = std::min(line.find_first_of(kSpace, at), line.size());
    if (count == N) return N + 1;
    fields[count++] = line.substr(at, end - at);
    at = line.find_first_not_of(kSpace, end);
  }
  return count;
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

void add_run_line(std::string_view line, std::string_view name, uint64_t number, RetrievalRun& run) {
  std::array<std::string_view, 6> fields;
  const size_t count = fields_of(line, fields);
  if (count == 0) return;
  if (count != 6) damaged(name, number, "a run has six fields: topic Q0 document rank score tag");
  double score = 0;
  if (!parse_number(fields[4], score) || !std::isfinite(score))
    damaged(name, number, fmt::format("the score '{}' is not a number", sanitize_utf8(fields[4])));
  run[std::string(fields[0])].push_back({std::string(fields[2]), score});
}

void add_qrels_line(std::string_view line, std::string_view name, uint64_t number, RelevanceGrades& grades) {
  std::array<std::string_view, 4> fields;
  const size_t count = fields_of(line, fields);
  if (count == 0) return;
  if (count != 4) damaged(name, number, "qrels have four fields: topic 0 document grade");
  int grade = 0;
  if (!parse_number(fields[3], grade))
    damaged(name, number, fmt::format("the grade '{}' is not a whole number", sanitize_utf8(fields[3])));
  grades[std::string(fields[0])][std::string(fields[2])] = std::max(0, grade);
}

/// Sorts every topic, and refuses a document that is ranked twice: it would be counted twice.
void finish(RetrievalRun& run, std::string_view name) {
  for (auto& [topic, documents] : run) {
    std::vector<std::string_view> ids(documents.size());
    std::transform(documents.begin(), documents.end(), ids.begin(),
                   [](const auto& d) { return std::string_view(d.id); });
    std::sort(ids.begin(), ids.end());
    const auto twice = std::adjacent_find(ids.begin(), ids.end());
    if (twice != ids.end())
      throw Error(ErrorCode::kCorrupt,
                  fmt::format("{}: topic {} ranks document {} twice", sanitize_utf8(name),
                              sanitize_utf8(topic), sanitize_utf8(*twice)));
    sort_by_score(documents);
  }
}

template <class AddLine>
void read_lines(const std::filesystem::path& path, AddLine&& add) {
  LineReader lines(path.string(), kLongestLine);
  std::string line;
  for (auto result = lines.next(line, {}); result != LineReader::Result::kEnd;
       result = lines.next(line, {})) {
    if (result != LineReader::Result::kLine) damaged(path.string(), lines.number(), "the line is too long");
    add(line, lines.number());
  }
}

template <class AddLine>
void split_lines(std::string_view text, AddLine&& add) {
  uint64_t number = 0;
  for (const std::string_view line : split(text, '\n')) add(line, ++number);
}

/// One topic's ranking as grades, and the grades that could have been.
struct TopicView {
  std::vector<int> ranked;  // the grade at each rank
  std::vector<int> ideal;   // the judged grades above 0, falling
};

TopicView view_topic(const std::unordered_map<std::string, int>& grades,
                     const std::vector<ScoredDocument>* documents) {
  TopicView view;
  for (const auto& [id, grade] : grades)
    if (grade > 0) view.ideal.push_back(grade);
  std::sort(view.ideal.begin(), view.ideal.end(), std::greater<>());
  if (documents == nullptr) return view;
  for (const auto& document : *documents) {
    const auto found = grades.find(document.id);
    view.ranked.push_back(found == grades.end() ? 0 : found->second);
  }
  return view;
}

size_t relevant_in(const std::vector<int>& grades, size_t depth) {
  const auto end = grades.begin() + static_cast<ptrdiff_t>(std::min(depth, grades.size()));
  return static_cast<size_t>(std::count_if(grades.begin(), end, [](int grade) { return grade > 0; }));
}

double precision(const TopicView& view, size_t depth) {
  return static_cast<double>(relevant_in(view.ranked, depth)) / static_cast<double>(depth);
}

double average_precision(const TopicView& view) {
  double sum = 0, seen = 0;
  for (size_t i = 0; i < view.ranked.size(); ++i)
    if (view.ranked[i] > 0) sum += ++seen / static_cast<double>(i + 1);
  return sum / static_cast<double>(view.ideal.size());
}

double discounted_gain(const std::vector<int>& grades, size_t depth) {
  double sum = 0;
  for (size_t i = 0; i < std::min(depth, grades.size()); ++i)
    sum += grades[i] / std::log2(static_cast<double>(i) + 2);
  return sum;
}

double ndcg(const TopicView& view, size_t depth) {
  return discounted_gain(view.ranked, depth) / discounted_gain(view.ideal, depth);
}

double reciprocal_rank(const TopicView& view) {
  const auto first =
      std::find_if(view.ranked.begin(), view.ranked.end(), [](int grade) { return grade > 0; });
  return first == view.ranked.end() ? 0 : 1 / static_cast<double>(first - view.ranked.begin() + 1);
}

/// Calls `use` with every topic that has a relevant document.
template <class Use>
void for_topics(const RelevanceGrades& grades, const RetrievalRun& run, Use&& use) {
  for (const auto& [topic, judged] : grades) {
    const auto found = run.find(topic);
    const TopicView view = view_topic(judged, found == run.end() ? nullptr : &found->second);
    if (!view.ideal.empty()) use(topic, view);
  }
}

}  // namespace

void sort_by_score(std::vector<ScoredDocument>& documents) {
  std::sort(documents.begin(), documents.end(), [](const ScoredDocument& a, const ScoredDocument& b) {
    return a.score != b.score ? a.score > b.score : a.id > b.id;
  });
}

RetrievalRun read_run(const std::filesystem::path& path) {
  RetrievalRun run;
  const std::string name = path.string();
  read_lines(path, [&](std::string_view line, uint64_t number) { add_run_line(line, name, number, run); });
  finish(run, name);
  return run;
}

RelevanceGrades read_qrels(const std::filesystem::path& path) {
  RelevanceGrades grades;
  const std::string name = path.string();
  read_lines(path,
             [&](std::string_view line, uint64_t number) { add_qrels_line(line, name, number, grades); });
  return grades;
}

RetrievalRun parse_run(std::string_view text, std::string_view name) {
  RetrievalRun run;
  split_lines(text, [&](std::string_view line, uint64_t number) { add_run_line(line, name, number, run); });
  finish(run, name);
  return run;
}

RelevanceGrades parse_qrels(std::string_view text, std::string_view name) {
  RelevanceGrades grades;
  split_lines(text,
              [&](std::string_view line, uint64_t number) { add_qrels_line(line, name, number, grades); });
  return grades;
}

RetrievalScores judge_run(const RelevanceGrades& grades, const RetrievalRun& run) {
  RetrievalScores sum;
  for_topics(grades, run, [&](const std::string&, const TopicView& view) {
    const size_t found = relevant_in(view.ranked, view.ranked.size());
    ++sum.topics;
    sum.relevant += view.ideal.size();
    sum.found += found;
    sum.map += average_precision(view);
    sum.p5 += precision(view, 5);
    sum.p10 += precision(view, 10);
    sum.p30 += precision(view, 30);
    sum.ndcg += ndcg(view, std::max(view.ranked.size(), view.ideal.size()));
    sum.ndcg10 += ndcg(view, 10);
    sum.ndcg30 += ndcg(view, 30);
    sum.reciprocal_rank += reciprocal_rank(view);
    sum.recall += static_cast<double>(found) / static_cast<double>(view.ideal.size());
  });
  if (sum.topics == 0) return sum;
  for (double* mean : {&sum.map, &sum.p5, &sum.p10, &sum.p30, &sum.ndcg, &sum.ndcg10, &sum.ndcg30,
                       &sum.reciprocal_rank, &sum.recall})
    *mean /= static_cast<double>(sum.topics);
  return sum;
}

std::map<std::string, double> average_precisions(const RelevanceGrades& grades, const RetrievalRun& run) {
  std::map<std::string, double> precisions;
  for_topics(grades, run, [&](const std::string& topic, const TopicView& view) {
    precisions[topic] = average_precision(view);
  });
  return precisions;
}

}  // namespace fathom::live
