// What all parts of one answer share: the request, where to look, how to tell it, and where it goes.
//
// References; made for one answer and used by its thread.
#pragma once

#include <stop_token>
#include <string>

#include "answer/assistant.h"
#include "answer/compose.h"
#include "answer/phrases.h"
#include "answer/style.h"
#include "live/store.h"
#include "live/trends/trends.h"

namespace fathom::answer {

struct Task {
  const live::Store& store;
  infer::Engine* engine;       // null: none
  const live::Trends* trends;  // null: none
  const Request& request;
  const Events& events;
  const std::stop_token& stop;
  const Style& style;
  const Phrases& phrases;
  Answer& answer;
  Composer& out;
  Time now;  // the feed's clock; the machine's for an empty feed

  /// Nobody waits any more.
  bool ended() const { return out.cancelled() || stop.stop_requested(); }
  /// A model writes, where it can.
  bool generates() const { return engine != nullptr && request.writer != Writer::kExtract; }
  std::string time(Time when) const { return time_in(phrases, when, now); }
};

}  // namespace fathom::answer
