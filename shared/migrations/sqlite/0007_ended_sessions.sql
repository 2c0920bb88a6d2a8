-- Sessions of the page that a logout ended before their time, so that every dispatcher refuses them. Removed when their time is over.
CREATE TABLE ended_sessions (
    word TEXT NOT NULL PRIMARY KEY,
    ends_at TEXT NOT NULL -- when the session would have ended by itself
);
