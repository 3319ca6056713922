#include "answer/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

#include "answer/check.h"
#include "answer/entail.h"
#include "answer/thinking.h"
#include "base/error.h"
#include "base/text.h"

namespace fathom::answer {
namespace {

constexpr std::string_view kInstructions =
    "You answer questions from numbered posts. Use only words and numbers from the posts. Answer in one or "
    "two short sentences.";

/// Shows a small model what is wanted: the post's own words as one sentence. Invented, and the same in every prompt.
constexpr auto kExamples = std::to_array<std::array<std::string_view, 2>>({
    {"Posts:\n[1] Update from the quay: 12 boats were damaged by the fire in Tarnhaven. #quayfire\n\n"
     "Question: How many boats did the fire damage?",
     "12 boats were damaged by the fire in Tarnhaven."},
    {"Posts:\n[1] BREAKING: The lift to the Ostra tower opens at 9:30 on Sunday, Ilse Brandt says\n\n"
     "Question: When does the lift open?",
     "The lift to the Ostra tower opens at 9:30 on Sunday."},
});
/// For a model that was trained on them.
constexpr std::string_view kCitedInstructions =
    "Answer from the numbered posts alone, in their words, and cite them like [2]. If they do not hold the "
    "answer, "
    "write: The posts do not say.";
constexpr size_t kLongestCited = 280;  // bytes of a post that are shown

constexpr std::string_view kChatInstructions = "You are Fathom, a helpful assistant. Answer briefly.";

/// A fragment of fewer words says nothing that can be judged.
constexpr size_t kFewestWords = 4;

/// Below this many parameters a model is given few, short posts.
constexpr uint64_t kSmallModel = 1'000'000'000;

struct Profile {
  bool small;        // reads one post at a time, after the worked examples, and writes one line
  bool cites;        // was trained on cited_prompt
  size_t posts;      // that may be read
  size_t sentences;  // that are let through
  size_t tokens;     // written at most: a small model that does not stop by then repeats itself
  size_t attempts;   // prompts at most
};
Profile profile_of(const infer::Engine& engine) {
  if (engine.info().cites) return {false, true, kCitedPosts, 3, 96, 1};
  return engine.info().parameters < kSmallModel ? Profile{true, false, 4, 2, 48, 2}
                                                : Profile{false, false, 12, 6, 1024, 1};
}

/// OpenAI's defaults mean that nobody chose: grounded answers are then greedy, which is what a small model is best at.
infer::Sampling grounded_sampling(infer::Sampling sampling) {
  const infer::Sampling untouched;
  if (sampling.temperature == untouched.temperature && sampling.top_p == untouched.top_p &&
      sampling.top_k == untouched.top_k) {
    sampling.temperature = 0;
  }
  return sampling;
}

bool is_meta(std::string_view sentence) {
  const std::string lower = to_lower_ascii(sentence);
  for (const std::string_view cue :
       {"here is", "here are", "i'm sorry", "i am sorry", "as an ai", "the question", "based on the posts",
        "the posts do not", "i cannot", "i can't", "question:", "answer:", "the answer is:", "in summary",
        "note that", "let me", "sure"}) {
    if (lower.starts_with(cue)) return true;
  }
  return false;
}

std::string_view strip_bullet(std::string_view text) {
  text = trim(text);
  if (text.starts_with("- ") || text.starts_with("* ")) return trim(text.substr(2));
  size_t digits = 0;
  while (digits < text.size() && digits < 2 && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits > 0 && text.substr(digits).starts_with(". ")) return trim(text.substr(digits + 2));
  return text;
}

/// Checks each finished sentence and hands on those that hold.
class Gate {
 public:
  /// `chooses`: what answers the question is the model's to say, and the check only sees that a post says it too.
  Gate(const Task& task, const Plan& plan, const std::vector<const Evidence*>& posts,
       const std::string& value, size_t most, bool chooses)
      : task_(task), plan_(plan), posts_(posts), value_(value), most_(most), chooses_(chooses) {}

  /// False when no more text is wanted.
  bool feed(std::string_view piece) {
    pending_ += piece;
    while (true) {
      const size_t end = first_sentence();
      if (end == 0) return true;
      const std::string sentence = pending_.substr(0, end);
      pending_.erase(0, end);
      if (!judge(sentence)) return false;
    }
  }

  void finish() {
    if (!trim(pending_).empty()) judge(pending_);
    pending_.clear();
  }

  size_t passed() const { return passed_; }
  size_t dropped() const { return dropped_; }
  bool refused() const { return refused_; }

 private:
  /// Where the first sentence of what is pending ends, marks behind it included; 0 while it may go on.
  size_t first_sentence() const {
    // Marks end no sentence here: each stays with the one it follows.
    std::string masked = pending_;
    for (size_t at = masked.find('['); at != std::string::npos; at = masked.find('[', at + 1)) {
      const size_t end = masked.find_first_not_of("0123456789, ", at + 1);
      if (end == std::string::npos || masked[end] != ']') continue;
      std::fill(masked.begin() + static_cast<std::ptrdiff_t>(at),
                masked.begin() + static_cast<std::ptrdiff_t>(end) + 1, 'X');
    }
    const std::vector<Span> sentences = split_sentences(masked);
    if (sentences.empty()) return 0;
    const size_t line = pending_.find('\n', sentences[0].begin);
    if (sentences.size() < 2) return line != std::string::npos ? line + 1 : 0;
    size_t next = sentences[1].begin;
    while (next < pending_.size() && pending_[next] == '[') {
      const size_t end = pending_.find(']', next);
      if (end == std::string::npos) return 0;
      next = std::min(pending_.find_first_not_of(" .", end + 1), pending_.size());
    }
    return next;
  }

  bool judge(std::string_view raw) {
    const Marks marks = strip_marks(strip_bullet(raw));
    if (split_words(marks.text).empty()) return true;
    if (chooses_ && passed_ == 0 && trim(marks.text).starts_with(kNoAnswer.substr(0, kNoAnswer.size() - 1))) {
      refused_ = true;
      return false;
    }
    const std::optional<Source> source =
        is_meta(marks.text) || repeats(marks.text) || !tells(marks.text) ? std::nullopt : find_source(marks);
    if (!source || !agreed(marks.text, *source)) return ++dropped_ < 4;
    ++passed_;
    return task_.out.claim(marks.text, {*source}) && passed_ < most_;
  }

  bool agreed(std::string_view text, const Source& source) const {
    return !can_judge(*task_.engine) || model_agrees(task_, text, *source.evidence, source.passage);
  }

  bool repeats(const std::string& text) { return !seen_.insert(to_lower_ascii(text)).second; }

  /// Says something that the question does not, and, where a figure is asked for, the figure that holds.
  bool tells(std::string_view text) const {
    const std::vector<Word> words = split_words(text);
    const std::vector<Fact> facts = find_facts(text, words);
    if (words.size() < kFewestWords || words.back().folded == "are" || words.back().folded == "is")
      return false;
    if (chooses_) return true;
    if (!value_.empty()) {
      return std::ranges::any_of(facts, [&](const Fact& fact) { return fact.key == value_; });
    }
    if (!keeps_subject(words)) return false;
    if (plan_.ask == Ask::kYesNo) return true;
    return tells_kind(words, facts);
  }

  /// At least half of what the question is about: "The best chess in years" does not say how the match stands.
  bool keeps_subject(const std::vector<Word>& words) const {
    size_t total = 0, kept = 0;
    for (const Term& term : plan_.terms) {
      if (term.weak) continue;
      ++total;
      kept += std::ranges::any_of(words, [&](const Word& word) { return related(term.word, word); }) ? 1 : 0;
    }
    return 2 * kept >= total;
  }

  static bool gives_reason(const std::vector<Word>& words) {
    static constexpr auto kCues = std::to_array<std::string_view>(
        {"because", "due", "after", "caused", "cause", "causes", "following", "since", "by", "over", "led"});
    return std::ranges::any_of(
        words, [](const Word& word) { return std::ranges::find(kCues, word.folded) != kCues.end(); });
  }

  /// What the kind of question asks for and the question does not have itself: a name, a time, or two words.
  bool tells_kind(const std::vector<Word>& words, const std::vector<Fact>& facts) const {
    const std::vector<Word> asked = split_words(plan_.resolved);
    size_t fresh = 0, names = 0;
    for (const Word& word : words) {
      if (!is_content(word) || word.kind == WordKind::kNumber) continue;
      if (std::ranges::any_of(asked, [&](const Word& other) { return related(word, other); })) continue;
      ++fresh;
      names += is_name(word) || (word.opens && word.capital) ? 1 : 0;
    }
    const std::vector<Fact> given = find_facts(plan_.resolved, asked);
    const bool figure = std::ranges::any_of(facts, [&](const Fact& fact) {
      return std::ranges::none_of(given, [&](const Fact& other) { return other.key == fact.key; });
    });
    switch (plan_.ask) {
      case Ask::kWho:
      case Ask::kWhoSaid:
      case Ask::kWhere: return names > 0;
      case Ask::kWhen: return figure || names > 0 || fresh >= 2;
      case Ask::kHowMany:
      case Ask::kHowMuch: return figure;
      case Ask::kWhy: return fresh >= 2 && gives_reason(words);
      default: return figure || names > 0 || fresh >= 2;
    }
  }

  /// The post it cites if that supports it, else the one that does.
  std::optional<Source> find_source(const Marks& marks) const {
    for (const size_t number : marks.numbers) {
      if (number < 1 || number > posts_.size()) continue;
      const Support support = check_support(marks.text, *posts_[number - 1]);
      if (support.supported) return Source{posts_[number - 1], support.passage};
    }
    std::optional<Source> best;
    double score = 0;
    for (const Evidence* post : posts_) {
      const Support support = check_support(marks.text, *post);
      if (!support.supported || support.score <= score + 1e-9) continue;
      score = support.score;
      best = Source{post, support.passage};
    }
    return best;
  }

  const Task& task_;
  const Plan& plan_;
  const std::vector<const Evidence*>& posts_;
  const std::string& value_;
  size_t most_;
  bool chooses_;
  std::string pending_;
  std::unordered_set<std::string> seen_;
  size_t passed_ = 0;
  size_t dropped_ = 0;
  bool refused_ = false;
};

/// The posts for the prompt: what the extractive writer would quote first, then the next best that do not contradict it.
std::vector<const Evidence*> choose_posts(const Plan& plan, const Reading& reading,
                                          const std::vector<ChosenQuote>& quotes, size_t most) {
  std::vector<const Evidence*> out;
  const auto add = [&](size_t index) {
    const Evidence* evidence = &reading.evidence[index];
    if (out.size() < most && evidence->trust >= 0.5 && std::ranges::find(out, evidence) == out.end())
      out.push_back(evidence);
  };
  const Quote& lead = quotes.front().quote;
  for (const ChosenQuote& chosen : quotes) {
    if (chosen.role != QuoteRole::kEarlier && chosen.role != QuoteRole::kDiffers) add(chosen.quote.index);
  }
  for (const Quote& quote : rank_quotes(plan, reading)) {
    if (quote.score >= 0.75 * lead.score && quote.value == lead.value) add(quote.index);
  }
  if (out.empty()) out.push_back(&reading.evidence[lead.index]);
  return out;
}

/// "[2] Name, 14:32 UTC: text"; without `head` the text alone.
std::string post_line(size_t number, const live::Post& post, Time now, bool head, size_t longest) {
  const std::string_view name = trim(post.author.name.empty() ? post.author.handle : post.author.name);
  const std::string who = name.empty() || name == "unknown" ? "" : as_data(name, 60) + ", ";
  const Span body = clean_span(post.text, {0, post.text.size()});
  return fmt::format("[{}] {}{}\n", number, head ? who + written_time(post.created_at, now) + ": " : "",
                     as_data(slice(post.text, body), longest));
}

std::vector<infer::ChatMessage> prompt_of(const std::string& instructions, const std::string& posts,
                                          std::string_view question) {
  return {{"system", instructions}, {"user", "Posts:\n" + posts + "\nQuestion: " + as_data(question, 1000)}};
}

}  // namespace

void count_tokens(const infer::GenerateResult& result, Answer& answer) {
  answer.prompt_tokens += result.prompt_tokens;
  answer.cached_tokens += result.cached_tokens;
  answer.completion_tokens += result.completion_tokens;
}

std::vector<infer::ChatMessage> grounded_prompt(const Plan& plan, const std::vector<const Evidence*>& posts,
                                                Time now, std::string_view style, std::string_view language) {
  const bool few = posts.size() <= 4;
  // Who wrote it and when only distracts a small model, unless that is the question.
  const bool head = !few || plan.ask == Ask::kWhoSaid;
  std::string lines;
  for (size_t i = 0; i < posts.size(); ++i)
    lines += post_line(i + 1, posts[i]->post, now, head, few ? 280 : 1200);
  std::string instructions(kInstructions);
  if (!style.empty()) instructions += "\n" + std::string(style);
  std::vector<infer::ChatMessage> messages = prompt_of(instructions, lines, plan.resolved);
  if (!language.empty()) messages.back().content += fmt::format("\nAnswer in {}.", language);
  return messages;
}

std::vector<const Evidence*> cited_posts(const Reading& reading, const std::vector<ChosenQuote>& quotes) {
  std::vector<const Evidence*> out;
  std::vector<size_t> old;
  const auto add = [&](size_t index) {
    const Evidence* evidence = &reading.evidence[index];
    if (out.size() < kCitedPosts && std::ranges::find(out, evidence) == out.end() &&
        std::ranges::find(old, index) == old.end())
      out.push_back(evidence);
  };
  for (const ChosenQuote& chosen : quotes) {
    if (chosen.role == QuoteRole::kEarlier) {
      old.push_back(chosen.quote.index);
    } else {
      add(chosen.quote.index);
    }
  }
  for (size_t i = 0; i < reading.evidence.size(); ++i)
    if (reading.evidence[i].trust >= 0.5) add(i);
  return out;
}

std::vector<infer::ChatMessage> cited_prompt(std::string_view question,
                                             const std::vector<const live::Post*>& posts, Time now) {
  std::string lines;
  for (size_t i = 0; i < posts.size(); ++i) lines += post_line(i + 1, *posts[i], now, true, kLongestCited);
  return prompt_of(std::string(kCitedInstructions), lines, question);
}

namespace {

std::vector<infer::ChatMessage> with_examples(std::vector<infer::ChatMessage> messages) {
  std::vector<infer::ChatMessage> examples;
  for (const auto& [user, assistant] : kExamples) {
    examples.push_back({"user", std::string(user)});
    examples.push_back({"assistant", std::string(assistant)});
  }
  messages.insert(messages.end() - 1, examples.begin(), examples.end());
  return messages;
}

std::vector<infer::ChatMessage> cited_prompt_of(const Plan& plan, const std::vector<const Evidence*>& posts,
                                                Time now) {
  std::vector<const live::Post*> shown;
  for (const Evidence* evidence : posts) shown.push_back(&evidence->post);
  return cited_prompt(plan.resolved, shown, now);
}

/// What every attempt of one answer has in common.
struct Writing {
  const Task& task;
  infer::Engine& engine;
  const Plan& plan;
  const Reading& reading;
  const std::string value;  // the figure that holds, where one is asked for
  const Profile profile;
};

/// One that cites knows one prompt; a small model writes no other language than the posts'.
std::vector<infer::ChatMessage> messages_of(const Writing& w, const std::vector<const Evidence*>& posts) {
  if (w.profile.cites) return cited_prompt_of(w.plan, posts, w.reading.as_of);
  const Phrases& phrases = w.task.phrases;
  const std::string_view language =
      w.profile.small || phrases.code == "en" ? std::string_view() : phrases.name;
  return grounded_prompt(w.plan, posts, w.reading.as_of, w.task.style.words, language);
}

/// The longest prompt that fits: posts go first, the worst one first, then the examples.
std::vector<int32_t> fit_prompt(const Writing& w, std::vector<const Evidence*> posts, size_t wanted) {
  const size_t context = w.engine.info().context;
  bool examples = w.profile.small;
  while (true) {
    std::vector<infer::ChatMessage> messages = messages_of(w, posts);
    if (examples) messages = with_examples(std::move(messages));
    std::vector<int32_t> prompt = chat_prompt(w.engine, messages, w.task.request.think);
    if (prompt.size() + wanted <= context) return prompt;
    if (posts.size() > 1) {
      posts.pop_back();
    } else if (examples) {
      examples = false;
    } else {
      throw Error(
          ErrorCode::kResourceExhausted,
          fmt::format(
              "the question and one post take {} tokens and the model holds {}: shorten the question or "
              "serve a model with a longer context",
              prompt.size() + wanted, context));
    }
  }
}

/// One prompt, the check of what it gives. `posts`: what may be cited; a small model reads the first of them.
Written attempt(const Writing& w, const std::vector<const Evidence*>& posts) {
  const Task& task = w.task;
  const size_t wanted = std::min({task.request.max_tokens, w.profile.tokens, w.engine.info().context / 2});
  infer::GenerateRequest generation;
  const std::vector<const Evidence*> shown = w.profile.small ? std::vector{posts.front()} : posts;
  generation.prompt = fit_prompt(w, shown, wanted);
  generation.max_tokens = wanted;
  generation.stop = task.request.stop;
  generation.deadline = task.request.deadline;
  if (w.profile.small || w.profile.cites) generation.stop.push_back("\n");
  generation.sampling = grounded_sampling(task.request.sampling);
  Gate gate(task, w.plan, posts, w.value, w.profile.sentences, w.profile.cites);
  bool satisfied = false;
  const infer::GenerateResult result = generate_with_thoughts(
      w.engine, generation, [&](std::string_view piece) { return !(satisfied = !gate.feed(piece)); },
      task.events, task.answer, task.stop);
  if (!satisfied && !task.stop.stop_requested()) gate.finish();
  count_tokens(result, task.answer);
  task.answer.dropped_sentences += gate.dropped();
  // Ending at our own bound is an end; only the caller's limit cuts an answer short.
  const bool bounded = result.finish == infer::FinishReason::kLength && result.completion_tokens >= wanted &&
                       wanted < task.request.max_tokens;
  task.answer.finish =
      (satisfied && !task.out.cancelled()) || bounded ? infer::FinishReason::kStop : result.finish;
  return {gate.passed(), gate.refused()};
}

/// Time that is over before the first word is an attempt that gave nothing: the posts can still be quoted.
Written attempt_in_time(const Writing& writing, const std::vector<const Evidence*>& posts) {
  try {
    return attempt(writing, posts);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDeadlineExceeded) throw;
    return {};
  }
}

/// A style says how many sentences it wants.
Profile styled(Profile profile, const Style& style) {
  if (style.sentences > 0 && !profile.small) profile.sentences = style.sentences;
  if (style.sentences > 0) profile.sentences = std::min(profile.sentences, style.sentences);
  return profile;
}

}  // namespace

Written write_generated(const Task& task, const Plan& plan, const Reading& reading,
                        const std::vector<ChosenQuote>& quotes) {
  const Writing writing{task,
                        *task.engine,
                        plan,
                        reading,
                        quotes.empty() ? std::string() : quotes.front().quote.value,
                        styled(profile_of(*task.engine), task.style)};
  std::vector<const Evidence*> posts = writing.profile.cites
                                           ? cited_posts(reading, quotes)
                                           : choose_posts(plan, reading, quotes, writing.profile.posts);
  // Whether it is so, one post decides; another may be about a part of it only.
  if (plan.ask == Ask::kYesNo && writing.profile.small) posts.resize(1);
  if (posts.empty()) return {};
  const size_t attempts = std::min(writing.profile.attempts, posts.size());
  for (size_t i = 0; i < attempts; ++i) {
    const Written written = attempt_in_time(writing, posts);
    if (written.sentences > 0 || written.refused || task.ended()) return written;
    std::rotate(posts.begin(), posts.begin() + 1, posts.end());
  }
  return {};
}

void write_chat(const Task& task) {
  infer::Engine& engine = *task.engine;
  const Request& request = task.request;
  std::vector<infer::ChatMessage> messages = request.messages;
  if (messages.front().role != "system")
    messages.insert(messages.begin(), {"system", std::string(kChatInstructions)});
  if (!task.style.words.empty()) messages.front().content += "\n" + task.style.words;
  infer::GenerateRequest generation;
  generation.prompt = chat_prompt(engine, messages, request.think);
  const size_t context = engine.info().context;
  if (generation.prompt.size() + 16 > context) {
    throw Error(
        ErrorCode::kResourceExhausted,
        fmt::format(
            "the conversation takes {} tokens and the model holds {}: begin a new one or leave out its "
            "oldest messages",
            generation.prompt.size(), context));
  }
  generation.max_tokens = std::min(request.max_tokens, context - generation.prompt.size());
  generation.stop = request.stop;
  generation.deadline = request.deadline;
  generation.sampling = request.sampling;
  const infer::GenerateResult result = generate_with_thoughts(
      engine, generation,
      [&](std::string_view piece) {
        task.answer.text += piece;
        return !task.events.on_text || task.events.on_text(piece, {});
      },
      task.events, task.answer, task.stop);
  count_tokens(result, task.answer);
  task.answer.finish = result.finish;
}

}  // namespace fathom::answer
