// The part of the check that reads who, what and how certain: does one sentence of a post say what a claim says, in the
// same roles and with the same certainty?
//
// It knows no grammar, only order and small closed classes of words, and errs towards "no". Pure; thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "answer/evidence.h"

namespace fathom::answer {

/// Why `evidence` does not say what the claim says (a literal), empty when some sentence of it does. That sentence
///  (1) has every number of the claim in the same role: the part and not the whole ("5,100 of 9,000"), what holds and not
///      what it was ("from 20 to 30", "24, not 91"), the same kind of bound ("up to"), counting the same thing,
///  (2) has the claim's other words, but for names that the post sets as its subject elsewhere,
///  (3) has subject, verb and object in the claim's order, or turned round as a passive is,
///  (4) is no question, and no rumour, condition, plan, possibility or denial unless the claim is.
/// `words` and `facts` are those of `claim`.
std::string_view misread(std::string_view claim, const std::vector<Word>& words,
                         const std::vector<Fact>& facts, const Evidence& evidence);

}  // namespace fathom::answer
