// Scenario files as values: storylines, and what all of them share (accounts, chatter, spam, common lists).
//
// Parsed from TOML with every template compiled and every name resolved. Owned by the caller; thread-safe for const use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "live/world/template.h"
#include "live/world/wording.h"

namespace fathom::live::world {

inline constexpr int64_t kDaySeconds = 86'400;

/// A named list of templates; {name} picks one of them.
struct WordList {
  std::string name;
  std::vector<Template> entries;
};

enum class Voice : uint8_t { kOfficial, kPress, kCasual };

struct ForeignPosts {
  std::string lang;
  std::vector<Template> templates;
};

/// Who says it decides how it is said.
struct Voices {
  std::vector<Template> official, press, casual;
  std::vector<ForeignPosts> foreign;  // said by casual accounts of that language
};

struct CastMember {
  std::string role, handle, name;
  Voice voice = Voice::kCasual;
  int64_t followers = 0;
};

struct FactValue {
  int64_t from = 0;                   // seconds into the day
  std::vector<std::string> forms;     // what posts write, the usual form first
  std::vector<std::string> accepted;  // forms, and what an answer may say instead
  std::vector<Template> questions;    // instead of the fact's, when there are any
  bool ask = true;
};

struct Fact {
  std::string key, kind, subject, attribute;
  std::string by;  // role of the official accounts that speak on it
  int64_t weight = 10;
  std::vector<FactValue> values;  // by time
  std::vector<Template> questions;
  Voices voices;
  Place place;

  /// Index of the value valid at a second of the day; empty before the first.
  std::optional<size_t> value_at(int64_t second) const;
  /// Exclusive end of a value's time; the end of the day for the last.
  int64_t end_of(size_t value) const;
};

struct Rumour {
  std::string key, subject, attribute;
  std::string by;  // role of the official accounts that correct it
  int64_t weight = 10;
  int64_t from = 0, corrected = 0;
  std::vector<std::string> forms, accepted;
  std::vector<Template> spread;  // casual posts that claim it
  Voices corrections;
  std::vector<Template> questions;
  std::vector<std::string> answers;  // each correction contains one
  Place place;
};

/// A stretch of the day with posts around the story that need not state anything.
struct Phase {
  int64_t from = 0, to = kDaySeconds;
  int64_t weight = 10;
  Voices voices;
};

struct NoAnswer {
  Template question;
  std::vector<std::string> absent;  // strings that no post of the world contains
  Place place;
};

/// A question that takes something wrong for granted: the right answer is a fact's value, or a rumour's correction.
struct FalsePremise {
  Template question;
  bool rumour = false;
  size_t index = 0;                  // of the fact or the rumour
  int64_t after = 0;                 // asked no earlier
  std::vector<std::string> answers;  // besides those of the fact or the rumour
};

/// A question of the author's own: its right answer is a fact's value, asked for each value that holds after `after`.
struct Inquiry {
  Template question;
  std::string kind, lang;
  size_t fact = 0;
  std::optional<size_t>
      than;  // a comparison with this fact; the greater (or `less`: smaller) value is the answer
  bool less = false;
  std::string by;  // only what accounts of this role said is gold; empty: whoever said it
  int64_t after = 0;
  std::vector<std::string> answers;  // besides the value's
};

struct Storyline {
  std::string id, title, file;
  std::string lang = "en";  // of its official, press and casual posts, and of its questions
  int64_t weight = 10;
  std::vector<std::string> names;  // a post that states a fact contains one of these or of `tags`
  std::vector<std::string> tags;   // without '#'
  std::vector<std::string> emoji;
  std::vector<CastMember> cast;
  std::string authority;           // role of the first official member: speaks where no other is named
  std::vector<std::string> roles;  // what Slot::index of kCast and kHandle counts
  std::vector<WordList> lists;
  std::vector<Fact> facts;
  std::vector<Rumour> rumours;
  std::vector<Phase> phases;
  std::vector<Template> replies, quotes;
  std::vector<NoAnswer> no_answers;
  std::vector<FalsePremise> false_premises;
  std::vector<Inquiry> inquiries;
};

/// How accounts of one kind are made: local, fan, press, bot, spam.
struct AccountKind {
  std::string kind;
  int64_t share = 0;  // of the accounts beyond the cast, in parts
  std::string lang;
  int64_t followers_low = 0, followers_high = 0;
  std::vector<Template> names, handles, bios;
  Place place;
};

/// Small talk on one subject by accounts of one kind.
struct Topic {
  std::string name, kind, lang;
  int64_t weight = 10;
  int64_t from = 0, to = kDaySeconds;
  std::vector<Template> posts;
};

struct Common {
  std::vector<WordList> lists;
  std::vector<AccountKind> accounts;
  std::vector<Topic> chatter, spam;
  std::vector<Template> news_replies, chatter_replies, quotes;
  std::vector<std::string> emoji;
  Slang slang;

  std::optional<uint32_t> list_index(std::string_view name) const;
};

struct Scenarios {
  Common common;
  std::vector<Storyline> storylines;  // by id
};

/// The three common files by name ("accounts.toml", ...) and text. Errors: kInvalidArgument with file and line.
Common parse_common(const std::map<std::string, std::string>& files);

/// One storyline. `file` is shown in errors; its stem is the id. Errors: kInvalidArgument with file and line.
Storyline parse_storyline(std::string_view toml, const std::string& file, const Common& common);

/// Every *.toml of a folder, in the order of their names. Errors: also kNotFound.
Scenarios load_scenarios(const std::filesystem::path& folder);

}  // namespace fathom::live::world
