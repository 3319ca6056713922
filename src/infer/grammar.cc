#include "infer/grammar.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace fathom::infer {

struct Grammar::Program {};
struct GrammarVocabulary::Trie {};
struct GrammarMatcher::State {};

namespace {
[[noreturn]] void refuse() { throw Error(ErrorCode::kUnsupported, "grammars are not built in yet"); }
}  // namespace

std::shared_ptr<const Grammar> Grammar::json_object() { refuse(); }
std::shared_ptr<const Grammar> Grammar::json_schema(const nlohmann::ordered_json&) { refuse(); }
std::shared_ptr<const Grammar> Grammar::choice(const std::vector<std::string>&) { refuse(); }
Grammar::Grammar(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
Grammar::~Grammar() = default;

GrammarVocabulary::GrammarVocabulary(const std::vector<std::string_view>&, std::vector<int32_t> ends)
    : trie_(std::make_unique<Trie>()), ends_(std::move(ends)) {}
GrammarVocabulary::~GrammarVocabulary() = default;

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar>, const GrammarVocabulary&) { refuse(); }
GrammarMatcher::~GrammarMatcher() = default;
void GrammarMatcher::mask(std::span<float>) {}
bool GrammarMatcher::allows(int32_t) const { return true; }
void GrammarMatcher::accept(int32_t) {}
bool GrammarMatcher::may_end() const { return true; }
bool GrammarMatcher::must_end() const { return false; }

}  // namespace fathom::infer
