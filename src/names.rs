//! Every span, attribute, tag and metric name, in one place.
//!
//! Vocabulary: OpenTelemetry GenAI conventions v1.41.1 (`gen_ai.*`), OpenInference (`openinference.*`, `llm.*`,
//! `input.*`, `output.*`, `session.id`), and our own under `fretcoach.*`. Which backend reads which name is a
//! matter of delivery. [`is_personal`] marks the names whose values can hold what a player or a model said.

/// Name of the OpenTelemetry resource `service.name`.
pub const SERVICE: &str = "fretcoach";

/// Root spans: one per operation.
pub mod op {
    /// One practice session, from first sample to summary.
    pub const SESSION: &str = "practice session";
    /// One piece of advice: window to text.
    pub const LIVE_FEEDBACK: &str = "live-feedback";
    /// One utterance of the coach: text to sound. A trace of its own.
    pub const LIVE_COACH_TTS: &str = "live-coach-tts";
    /// The summary at the end of a session.
    pub const SESSION_SUMMARY: &str = "session-summary";
    /// A practice plan is made (`fretcoach plan`, the Hub).
    pub const PRACTICE_RECOMMENDATION: &str = "practice-recommendation";
    /// One question to the chat coach, and its answer.
    pub const CHAT_TURN: &str = "hub chat turn";
    /// The round trip from the output to the input is measured (`fretcoach calibrate`).
    pub const CALIBRATION: &str = "calibration";
}

/// Child spans.
pub mod span {
    /// The capture stream was opened.
    pub const CAPTURE_OPEN: &str = "capture open";
    /// The device was lost, moved, stalled or starved, and what became of it.
    pub const DEVICE_CHANGE: &str = "device change";
    /// The window of playing was closed and frozen.
    pub const METRICS_SNAPSHOT: &str = "metrics snapshot";
    /// The prompt was rendered from its template.
    pub const PROMPT_RENDER: &str = "prompt render";
    /// One model attempt is named `chat {model}`.
    pub const CHAT: &str = "chat";
    /// Is the question about practice?
    pub const INTENT: &str = "intent";
    /// The agent's part of a chat turn: `invoke_agent {name}`.
    pub const INVOKE_AGENT: &str = "invoke_agent";
    /// One call of a tool: `execute_tool {name}`.
    pub const EXECUTE_TOOL: &str = "execute_tool";
    /// Rows of the store found by a query.
    pub const RETRIEVAL: &str = "retrieval practice history";
    /// A standing question was answered from fixed queries.
    pub const STANDING: &str = "standing question";
    /// The offline coach chose its words.
    pub const OFFLINE_COACH: &str = "offline coach";
    /// The player's history is read for a plan: followed by what is read (`sessions`, `scales`, `plans`).
    pub const HISTORY_QUERY: &str = "history query";
    /// The offline planner made a plan.
    pub const OFFLINE_PLANNER: &str = "offline planner";
    /// One request to a speech engine.
    pub const TTS_REQUEST: &str = "tts request";
    /// One utterance in the player.
    pub const TTS_PLAYBACK: &str = "tts playback";
    /// The metronome began, and what is known of its way to the input was settled.
    pub const CALIBRATION: &str = "calibration";
}

/// Attribute names.
pub mod attr {
    // Every span
    /// `session.id`
    pub const SESSION_ID: &str = "session.id";
    /// `gen_ai.conversation.id`
    pub const CONVERSATION_ID: &str = "gen_ai.conversation.id";
    /// `user.id`
    pub const USER_ID: &str = "user.id";
    /// `openinference.span.kind`
    pub const KIND: &str = "openinference.span.kind";
    /// `gen_ai.operation.name`
    pub const OPERATION: &str = "gen_ai.operation.name";
    /// `input.value`
    pub const INPUT: &str = "input.value";
    /// `input.mime_type`
    pub const INPUT_MIME: &str = "input.mime_type";
    /// `output.value`
    pub const OUTPUT: &str = "output.value";
    /// `output.mime_type`
    pub const OUTPUT_MIME: &str = "output.mime_type";
    /// `tag.tags`
    pub const TAGS: &str = "tag.tags";
    /// `metadata`
    pub const METADATA: &str = "metadata";
    /// `error.type`
    pub const ERROR_TYPE: &str = "error.type";
    /// `gen_ai.workflow.name`
    pub const WORKFLOW: &str = "gen_ai.workflow.name";
    // Model calls
    /// `gen_ai.provider.name`
    pub const PROVIDER: &str = "gen_ai.provider.name";
    /// `gen_ai.system`
    pub const SYSTEM: &str = "gen_ai.system";
    /// `gen_ai.request.model`
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    /// `gen_ai.request.temperature`
    pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    /// `gen_ai.request.max_tokens`
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    /// `gen_ai.request.stream`
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    /// `gen_ai.output.type`
    pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
    /// `gen_ai.response.id`
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    /// `gen_ai.response.model`
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    /// `gen_ai.response.finish_reasons`
    pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    /// Seconds (double) from the request to the first chunk of content.
    pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    /// `gen_ai.usage.input_tokens`
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    /// `gen_ai.usage.output_tokens`
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    /// `gen_ai.usage.cache_read.input_tokens`
    pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    /// `gen_ai.usage.reasoning.output_tokens`
    pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
    /// `server.address`
    pub const SERVER_ADDRESS: &str = "server.address";
    /// `server.port`
    pub const SERVER_PORT: &str = "server.port";
    /// `llm.model_name`
    pub const LLM_MODEL: &str = "llm.model_name";
    /// `llm.provider`
    pub const LLM_PROVIDER: &str = "llm.provider";
    /// `llm.invocation_parameters`
    pub const LLM_PARAMETERS: &str = "llm.invocation_parameters";
    /// `llm.token_count.prompt`
    pub const LLM_TOKENS_PROMPT: &str = "llm.token_count.prompt";
    /// `llm.token_count.completion`
    pub const LLM_TOKENS_COMPLETION: &str = "llm.token_count.completion";
    /// `llm.token_count.total`
    pub const LLM_TOKENS_TOTAL: &str = "llm.token_count.total";
    /// `llm.token_count.prompt_details.cache_read`
    pub const LLM_TOKENS_CACHE_READ: &str = "llm.token_count.prompt_details.cache_read";
    /// `llm.token_count.completion_details.reasoning`
    pub const LLM_TOKENS_REASONING: &str = "llm.token_count.completion_details.reasoning";
    /// US dollars, from the price table.
    pub const LLM_COST_TOTAL: &str = "llm.cost.total";
    /// Prefix; followed by `.{n}.message.` and `role`, `content`, `tool_call_id` or `tool_calls.{m}.tool_call.…`.
    pub const LLM_INPUT_MESSAGES: &str = "llm.input_messages";
    /// Prefix; followed by `.{n}.message.` and `role`, `content`, `tool_call_id` or `tool_calls.{m}.tool_call.…`.
    pub const LLM_OUTPUT_MESSAGES: &str = "llm.output_messages";
    /// Prefix; followed by `.{n}.tool.json_schema`.
    pub const LLM_TOOLS: &str = "llm.tools";
    // Agents and tools
    /// `gen_ai.agent.name`
    pub const AGENT_NAME: &str = "gen_ai.agent.name";
    /// `agent.name`
    pub const OI_AGENT_NAME: &str = "agent.name";
    /// `graph.node.id`
    pub const GRAPH_NODE_ID: &str = "graph.node.id";
    /// `graph.node.name`
    pub const GRAPH_NODE_NAME: &str = "graph.node.name";
    /// `gen_ai.tool.name`
    pub const TOOL_NAME: &str = "gen_ai.tool.name";
    /// `tool.name`
    pub const OI_TOOL_NAME: &str = "tool.name";
    /// `gen_ai.tool.type`
    pub const TOOL_TYPE: &str = "gen_ai.tool.type";
    /// `gen_ai.tool.call.id`
    pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
    /// `tool.id`
    pub const OI_TOOL_ID: &str = "tool.id";
    /// `gen_ai.tool.description`
    pub const TOOL_DESCRIPTION: &str = "gen_ai.tool.description";
    /// `gen_ai.data_source.id`
    pub const DATA_SOURCE: &str = "gen_ai.data_source.id";
    /// Prefix; followed by `.{n}.document.content`.
    pub const RETRIEVAL_DOCUMENTS: &str = "retrieval.documents";
    // The chat
    /// The agent's graph as JSON.
    pub const CHAT_GRAPH: &str = "fretcoach.chat.graph";
    /// The way through the graph that a turn took, ids of its nodes.
    pub const CHAT_PATH: &str = "fretcoach.chat.path";
    /// `practice`, `other` or `unclear`.
    pub const CHAT_TOPIC: &str = "fretcoach.chat.topic";
    /// Turns before this one in its thread.
    pub const CHAT_TURNS: &str = "fretcoach.chat.turns";
    /// Model calls of a turn.
    pub const CHAT_CALLS: &str = "fretcoach.chat.model_calls";
    /// Tokens in and out of a turn.
    pub const CHAT_TOKENS: &str = "fretcoach.chat.tokens";
    /// The SQL that was asked.
    pub const QUERY_TEXT: &str = "fretcoach.query.text";
    /// Rows that came back.
    pub const QUERY_ROWS: &str = "fretcoach.query.rows";
    /// Bytes that came back.
    pub const QUERY_BYTES: &str = "fretcoach.query.bytes";
    /// Time in the database, milliseconds.
    pub const QUERY_MS: &str = "fretcoach.query.ms";
    // Prompts
    /// `llm.prompt_template.template`
    pub const PROMPT_TEMPLATE: &str = "llm.prompt_template.template";
    /// `llm.prompt_template.version`
    pub const PROMPT_VERSION: &str = "llm.prompt_template.version";
    /// `llm.prompt_template.variables`
    pub const PROMPT_VARIABLES: &str = "llm.prompt_template.variables";
    /// `fretcoach.prompt.name`
    pub const PROMPT_NAME: &str = "fretcoach.prompt.name";
    /// `fretcoach.prompt.sha256`
    pub const PROMPT_HASH: &str = "fretcoach.prompt.sha256";
    /// `fretcoach.prompt.language`
    pub const PROMPT_LANGUAGE: &str = "fretcoach.prompt.language";
    // Attempts and latency
    /// `fretcoach.attempt`
    pub const ATTEMPT: &str = "fretcoach.attempt";
    /// `fretcoach.fallback_reason`
    pub const FALLBACK_REASON: &str = "fretcoach.fallback_reason";
    /// `fretcoach.latency.first_token_ms`
    pub const TTFT_MS: &str = "fretcoach.latency.first_token_ms";
    /// `fretcoach.latency.first_sentence_ms`
    pub const TTFS_MS: &str = "fretcoach.latency.first_sentence_ms";
    /// `fretcoach.latency.first_byte_ms`
    pub const TTFB_MS: &str = "fretcoach.latency.first_byte_ms";
    /// `fretcoach.latency.first_audible_sample_ms`
    pub const FIRST_SAMPLE_MS: &str = "fretcoach.latency.first_audible_sample_ms";
    /// `fretcoach.latency.waited_for_pause_ms`
    pub const WAITED_FOR_PAUSE_MS: &str = "fretcoach.latency.waited_for_pause_ms";
    // Speech
    /// `fretcoach.tts.engine`
    pub const TTS_ENGINE: &str = "fretcoach.tts.engine";
    /// `fretcoach.tts.voice`
    pub const TTS_VOICE: &str = "fretcoach.tts.voice";
    /// `fretcoach.tts.chars`
    pub const TTS_CHARS: &str = "fretcoach.tts.chars";
    /// `fretcoach.tts.bytes`
    pub const TTS_BYTES: &str = "fretcoach.tts.bytes";
    /// `fretcoach.tts.seconds`
    pub const TTS_SECONDS: &str = "fretcoach.tts.seconds";
    /// `fretcoach.tts.sentence`
    pub const TTS_SENTENCE: &str = "fretcoach.tts.sentence";
    /// `fretcoach.tts.interrupted`
    pub const TTS_INTERRUPTED: &str = "fretcoach.tts.interrupted";
    /// `fretcoach.tts.underruns`
    pub const TTS_UNDERRUNS: &str = "fretcoach.tts.underruns";
    /// `fretcoach.audio.output_period_frames`
    pub const OUTPUT_PERIOD: &str = "fretcoach.audio.output_period_frames";
    // The window
    /// `fretcoach.window.index`
    pub const WINDOW_INDEX: &str = "fretcoach.window.index";
    /// `fretcoach.window.start_s`
    pub const WINDOW_START: &str = "fretcoach.window.start_s";
    /// `fretcoach.window.end_s`
    pub const WINDOW_END: &str = "fretcoach.window.end_s";
    /// `fretcoach.window.notes`
    pub const WINDOW_NOTES: &str = "fretcoach.window.notes";
    /// Prefix; followed by the metric's name. Absent when the metric is disabled or was not measured.
    pub const SCORE: &str = "fretcoach.score";
    /// `fretcoach.weakest_metric`
    pub const WEAKEST: &str = "fretcoach.weakest_metric";
    /// `fretcoach.strongest_metric`
    pub const STRONGEST: &str = "fretcoach.strongest_metric";
    // The real-time loop
    /// `fretcoach.dsp.hop_p50_ns`
    pub const HOP_P50_NS: &str = "fretcoach.dsp.hop_p50_ns";
    /// `fretcoach.dsp.hop_p95_ns`
    pub const HOP_P95_NS: &str = "fretcoach.dsp.hop_p95_ns";
    /// `fretcoach.dsp.hop_max_ns`
    pub const HOP_MAX_NS: &str = "fretcoach.dsp.hop_max_ns";
    /// `fretcoach.dsp.hop_cpu_max_ns`: processor time of the costliest hop
    pub const HOP_CPU_MAX_NS: &str = "fretcoach.dsp.hop_cpu_max_ns";
    /// `fretcoach.dsp.late`: hops that took longer than the sound they hold
    pub const LATE_HOPS: &str = "fretcoach.dsp.late";
    /// `fretcoach.dsp.hops`
    pub const HOPS: &str = "fretcoach.dsp.hops";
    /// `fretcoach.dsp.overruns`: hops whose processor time was over its budget
    pub const OVERRUNS: &str = "fretcoach.dsp.overruns";
    /// `fretcoach.dsp.dropped_samples`
    pub const DROPPED_SAMPLES: &str = "fretcoach.dsp.dropped_samples";
    /// `fretcoach.dsp.dropped_events`
    pub const DROPPED_EVENTS: &str = "fretcoach.dsp.dropped_events";
    // The session
    /// `fretcoach.session`
    pub const FRETCOACH_SESSION: &str = "fretcoach.session";
    /// `fretcoach.mode`
    pub const MODE: &str = "fretcoach.mode";
    /// `fretcoach.deployment`
    pub const DEPLOYMENT: &str = "fretcoach.deployment";
    /// `fretcoach.scale`
    pub const SCALE: &str = "fretcoach.scale";
    /// `fretcoach.bpm`
    pub const BPM: &str = "fretcoach.bpm";
    /// `fretcoach.audio.host`
    pub const AUDIO_HOST: &str = "fretcoach.audio.host";
    /// `fretcoach.audio.input`
    pub const AUDIO_INPUT: &str = "fretcoach.audio.input";
    /// `fretcoach.audio.sample_rate`
    pub const AUDIO_RATE: &str = "fretcoach.audio.sample_rate";
    /// `fretcoach.audio.input_period_frames`
    pub const AUDIO_PERIOD: &str = "fretcoach.audio.input_period_frames";
    /// `fretcoach.audio.realtime_granted`
    pub const REALTIME: &str = "fretcoach.audio.realtime_granted";
    /// `fretcoach.dsp.detector`
    pub const DETECTOR: &str = "fretcoach.dsp.detector";
    /// `fretcoach.device.fault`
    pub const DEVICE_FAULT: &str = "fretcoach.device.fault";
    /// `fretcoach.device.gap_s`
    pub const GAP_SECONDS: &str = "fretcoach.device.gap_s";
    // The metronome
    /// From a click handed to the output to the same click captured, milliseconds.
    pub const ROUND_TRIP_MS: &str = "fretcoach.click.round_trip_ms";
    /// Spread of that (of one click, or standard error of the mean), milliseconds.
    pub const ROUND_TRIP_SPREAD_MS: &str = "fretcoach.click.round_trip_spread_ms";
    /// Where it is known from: `heard`, `calibration`, `unknown`; of a calibration: `loopback`, `tap`.
    pub const ROUND_TRIP_SOURCE: &str = "fretcoach.click.round_trip_source";
    /// Beat 0 of the metronome in the input, seconds on the capture clock.
    pub const CLICK_ORIGIN: &str = "fretcoach.click.origin_s";
    /// Clicks that a calibration rests on.
    pub const CLICKS: &str = "fretcoach.click.count";
    /// `fretcoach.audio.output`
    pub const AUDIO_OUTPUT: &str = "fretcoach.audio.output";
    // Practice plans
    /// Id of the plan (`practice_id`).
    pub const PLAN_ID: &str = "fretcoach.plan.id";
    /// Model that made it, or `offline`.
    pub const PLAN_SOURCE: &str = "fretcoach.plan.source";
    /// What it works on (`timing_stability`, `bends`, …).
    pub const PLAN_FOCUS: &str = "fretcoach.plan.focus";
    /// The player's level as estimated.
    pub const PLAN_LEVEL: &str = "fretcoach.plan.level";
    /// Why no model made it, in a fixed word.
    pub const PLAN_FALLBACK: &str = "fretcoach.plan.fallback_reason";
    /// What was wrong with a model's plan.
    pub const PLAN_FAULT: &str = "fretcoach.plan.fault";
    // Joins between traces
    /// `fretcoach.linked_trace_id`
    pub const LINKED_TRACE: &str = "fretcoach.linked_trace_id";
    /// `fretcoach.linked_span_id`
    pub const LINKED_SPAN: &str = "fretcoach.linked_span_id";
    /// `fretcoach.advice.id`
    pub const ADVICE_ID: &str = "fretcoach.advice.id";
    /// The parent of a span as it was, where that one was lost (a full queue) and the root stands in for it.
    pub const LOST_PARENT: &str = "fretcoach.lost_parent_id";
    /// `model name`, or `offline`.
    pub const ADVICE_SOURCE: &str = "fretcoach.advice.source";
    /// The offline coach's diagnosis, in a fixed word (`rushing`, `note_sharp`, …).
    pub const ADVICE_CAUSE: &str = "fretcoach.advice.cause";
    /// `fretcoach.advice.words`
    pub const ADVICE_WORDS: &str = "fretcoach.advice.words";
}

/// Tags that stand on root spans, so that one filter finds a kind of trace in every backend.
pub mod tag {
    /// `fretcoach-core`
    pub const CORE: &str = "fretcoach-core";
    /// `fretcoach-hub`
    pub const HUB: &str = "fretcoach-hub";
    /// `live-coach`
    pub const LIVE_COACH: &str = "live-coach";
    /// `live-feedback`
    pub const LIVE_FEEDBACK: &str = "live-feedback";
    /// `tts`
    pub const TTS: &str = "tts";
    /// `session-summary`
    pub const SESSION_SUMMARY: &str = "session-summary";
    /// `ai-mode`
    pub const AI_MODE: &str = "ai-mode";
    /// `practice-recommendation`
    pub const PRACTICE_RECOMMENDATION: &str = "practice-recommendation";
    /// `ai-coach-chat`
    pub const AI_COACH_CHAT: &str = "ai-coach-chat";
    /// `ai-coach`
    pub const AI_COACH: &str = "ai-coach";
    /// `web-chat`
    pub const WEB_CHAT: &str = "web-chat";
    /// `terminal-chat`
    pub const TERMINAL_CHAT: &str = "terminal-chat";
    /// `from-hub-dashboard`
    pub const FROM_HUB: &str = "from-hub-dashboard";
    /// `practice-plan`
    pub const PRACTICE_PLAN: &str = "practice-plan";
    /// `calibration`
    pub const CALIBRATION: &str = "calibration";
    /// `manual-mode`
    pub const MANUAL_MODE: &str = "manual-mode";
}

/// True for attributes whose values can hold what a player played or a model said, by full name or prefix.
/// `FRETCOACH_CAPTURE_CONTENT=false` drops exactly these.
#[must_use]
pub fn is_personal(name: &str) -> bool {
    const EXACT: [&str; 8] = [
        attr::QUERY_TEXT,
        attr::INPUT,
        attr::OUTPUT,
        attr::PROMPT_VARIABLES,
        attr::PROMPT_TEMPLATE,
        attr::TTS_SENTENCE,
        attr::METADATA,
        attr::PLAN_FAULT,
    ];
    const PREFIX: [&str; 3] =
        [attr::LLM_INPUT_MESSAGES, attr::LLM_OUTPUT_MESSAGES, attr::RETRIEVAL_DOCUMENTS];
    EXACT.contains(&name) || PREFIX.iter().any(|p| name.starts_with(p))
}
