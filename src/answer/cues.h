// Phrases by which a post shows what it does: corrects, denies, reassures, explains, advertises. One place for all of them.
//
// Pure functions; `lower` is ASCII lower case.
#pragma once

#include <string_view>

#include "answer/evidence.h"
#include "answer/plan.h"

namespace fathom::answer {

/// It takes something back, or replaces an earlier figure.
bool corrects(std::string_view lower);

/// It calls something untrue outright.
bool refutes(std::string_view lower);

/// It says that what was feared is not so: "still standing", "goes ahead", "is safe".
bool reassures(std::string_view lower);

/// It names a cause: surely ("because", "caused by"), or only perhaps ("after", "over").
bool explains(std::string_view lower);
bool may_explain(std::string_view lower);

/// One of these is enough: "retweet to win".
bool advertises(std::string_view lower);

/// Some word of the passage negates.
bool denies(const Evidence& evidence, Span passage);

/// A negation right before a word that is asked for: "no crash", "has not been arrested". Names do not count.
bool denies_asked(const Plan& plan, const Evidence& evidence, Span passage);

}  // namespace fathom::answer
