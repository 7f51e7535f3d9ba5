/** The channel on which commits that add or cancel jobs wake the workers. */
export const channel = 'mediablobkit_jobs';

/** The notification that asks holders to look for cancelled jobs; any other one says that work has come. */
export const cancelNotice = 'cancel';
