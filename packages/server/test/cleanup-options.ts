const daySeconds = 24 * 60 * 60;

/** What the timetable keeps, as by the settings' defaults. */
export const cleanupOptions = {
  uploadStaleSeconds: 300,
  uploadExpirySeconds: daySeconds,
  trashSeconds: 30 * daySeconds,
  temporariesSeconds: daySeconds,
  jobsSeconds: 7 * daySeconds,
  deadJobsSeconds: 30 * daySeconds,
  eventsSeconds: 7 * daySeconds,
  uploadKeysSeconds: daySeconds,
  auditSeconds: null,
  cap: 10_000,
} as const;
