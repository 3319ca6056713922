// Answers from the feed, as chat completions and responses ask for them: the assistant with its limits, errors and metrics.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "answer/assistant.h"
#include "server/context.h"

namespace fathom::server {

/// The sampling of grounded answers by default: the likeliest words, since facts are to be repeated, not varied.
infer::Sampling grounded_sampling();

/// Who answers under a name: a writer of the assistant, or (empty) the language model alone. Error: ApiError 404.
std::optional<answer::Writer> writer_of(const std::string& model, const Services& services);

class GroundedAsker {
 public:
  GroundedAsker(const Context& context, std::shared_ptr<Reply> reply)
      : context_(context), reply_(std::move(reply)) {}

  /// Nothing will be said for a while although no search comes first. Error: ApiError 400 when the conversation is too
  /// long for the model.
  bool begins_slowly(const answer::Request& request) const;

  /// Events may be empty; a client that leaves ends the answer. Errors: as the assistant's, but ApiError 400
  /// "context_length_exceeded" for a conversation that is too long, 429 for a model whose queue is full, 503 when
  /// stopped.
  answer::Answer ask(const answer::Request& request, answer::Events events);

 private:
  answer::Answer made(const answer::Request& request, const answer::Events& events);

  const Context& context_;
  std::shared_ptr<Reply> reply_;
};

}  // namespace fathom::server
