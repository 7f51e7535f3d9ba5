/** The channel on which the database tells what has changed for those who read bytes (migration 0010). */
export const deliveryChannel = 'mediablobkit_delivery';

/** The file that a notice is about; undefined when more may have changed: a project, or notices that were missed. */
export function changedFile(notice: string): string | undefined {
  return notice.startsWith('file ') ? notice.slice('file '.length) : undefined;
}

/** Who remembers something is told what has changed, in this process at once and by the database in all. */
export interface Changes {
  /** @param fileId the file that has changed; undefined: anything may have. */
  tell(fileId: string | undefined): void;
  hear(listener: (fileId: string | undefined) => void): void;
}

export function createChanges(): Changes {
  const listeners: ((fileId: string | undefined) => void)[] = [];
  return {
    tell: (fileId) => {
      for (const listener of listeners) listener(fileId);
    },
    hear: (listener) => void listeners.push(listener),
  };
}
