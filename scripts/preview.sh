#!/usr/bin/env bash
# scripts/preview.sh STACK...: a preview of each stack under the guardrails of policy/STACK.json, on standard output as
# Markdown, for a comment on the change. Exit code: 1 if one of them failed.
set -uo pipefail
failed=0
budget=$((60000 / ($# > 0 ? $# : 1))) # bytes: what GitHub and GitLab both take in one comment
for stack in "$@"; do
  # The end has the summary and the violations.
  text=$(pulumi preview --stack "$stack" --non-interactive --color never \
    --policy-pack policy --policy-pack-config "policy/$stack.json" 2>&1) || { failed=1; result=failed; }
  printf '### Preview of stack `%s`%s\n\n~~~~text\n%s\n~~~~\n\n' "$stack" "${result:+: $result}" "$(tail -c "$budget" <<<"$text")"
  unset result
done
exit "$failed"
