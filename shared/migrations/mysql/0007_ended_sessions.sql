-- Sessions of the page that a logout ended before their time, so that every dispatcher refuses them. Removed when their time is over.
CREATE TABLE ended_sessions (
    word    CHAR(32)    NOT NULL PRIMARY KEY,
    ends_at DATETIME(6) NOT NULL -- when the session would have ended by itself
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
