// One post explained: since when the feed knows its author, what it answers to, what else is said about the same thing, and
// whether somebody says otherwise. Everything is quoted and cited; what was not found is said.
//
// One answer, one thread.
#pragma once

#include "answer/task.h"

namespace fathom::answer {

/// Explains Request::subject. Errors: kNotFound where the feed has not the post or the search parameters exclude it.
void explain(const Task& task);

}  // namespace fathom::answer
