//! Fixed queries over the views, for questions that need no model. They run through the same fences as a model's.

/// The last sixty sessions, latest first.
pub const SESSIONS: &str = "SELECT recency, started_at, day, days_ago, scale, bpm, minutes, overall_score, pitch_score, \
     scale_score, timing_score, clean_score FROM sessions WHERE overall_score IS NOT NULL ORDER BY recency LIMIT 60";

/// Scores of the last sixty days with practice.
pub const PROGRESS: &str = "SELECT day, ROUND(AVG(overall_score), 1) AS overall_score, \
     ROUND(AVG(pitch_score), 1) AS pitch_score, ROUND(AVG(scale_score), 1) AS scale_score, \
     ROUND(AVG(timing_score), 1) AS timing_score, ROUND(AVG(clean_score), 1) AS clean_score FROM sessions \
     WHERE overall_score IS NOT NULL GROUP BY day ORDER BY day DESC LIMIT 60";

/// The latest scored session beside the average of those before it.
pub const COMPARISON: &str = "WITH scored AS (SELECT ROW_NUMBER() OVER (ORDER BY recency) AS place, overall_score, \
     pitch_score, scale_score, timing_score, clean_score FROM sessions WHERE overall_score IS NOT NULL), \
     l AS (SELECT * FROM scored WHERE place = 1), a AS (SELECT AVG(overall_score) AS overall_score, \
     AVG(pitch_score) AS pitch_score, AVG(scale_score) AS scale_score, AVG(timing_score) AS timing_score, \
     AVG(clean_score) AS clean_score FROM scored WHERE place > 1) \
     SELECT 'overall' AS metric, l.overall_score AS last_score, ROUND(a.overall_score, 1) AS average_score FROM l CROSS JOIN a \
     UNION ALL SELECT 'pitch', l.pitch_score, ROUND(a.pitch_score, 1) FROM l CROSS JOIN a \
     UNION ALL SELECT 'scale', l.scale_score, ROUND(a.scale_score, 1) FROM l CROSS JOIN a \
     UNION ALL SELECT 'timing', l.timing_score, ROUND(a.timing_score, 1) FROM l CROSS JOIN a \
     UNION ALL SELECT 'clean sound', l.clean_score, ROUND(a.clean_score, 1) FROM l CROSS JOIN a";

/// Scales practised, most time first.
pub const SCALES: &str = "SELECT scale, ROUND(average_score, 1) AS average_score, ROUND(best_score, 1) AS best_score, \
     sessions, ROUND(minutes, 0) AS minutes, last_days_ago FROM scales ORDER BY minutes DESC, scale LIMIT 20";

/// Averages of the last ten sessions.
pub const WEAKEST: &str = "SELECT COUNT(*) AS sessions, ROUND(AVG(pitch_score), 1) AS pitch_score, \
     ROUND(AVG(scale_score), 1) AS scale_score, ROUND(AVG(timing_score), 1) AS timing_score, \
     ROUND(AVG(clean_score), 1) AS clean_score, ROUND(AVG(cents_off), 1) AS cents_off, \
     ROUND(AVG(timing_spread_ms), 1) AS timing_spread_ms FROM sessions \
     WHERE recency <= 10 AND overall_score IS NOT NULL";

/// Notes that are most often wrong in the last ten sessions; rare ones say nothing.
pub const WRONG_NOTES: &str = "SELECT note, COUNT(*) AS played, SUM(1 - is_right) AS wrong, \
     ROUND(100.0 * SUM(1 - is_right) / COUNT(*), 0) AS percent_wrong FROM notes \
     WHERE session IN (SELECT session FROM sessions WHERE recency <= 10) GROUP BY note HAVING COUNT(*) >= 8 \
     ORDER BY percent_wrong DESC, note LIMIT 3";

/// Days with practice, latest first.
pub const DAYS: &str =
    "SELECT day, days_ago, ROUND(minutes, 1) AS minutes FROM days ORDER BY days_ago LIMIT 200";

/// All of them.
pub const ALL: &[&str] = &[SESSIONS, PROGRESS, COMPARISON, SCALES, WEAKEST, WRONG_NOTES, DAYS];
