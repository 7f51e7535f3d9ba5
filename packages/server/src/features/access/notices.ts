/** The channel on which the database tells that somebody's access has changed (migration 0015). */
export const accessChannel = 'mediablobkit_access';

/** Who remembers whom it lets in. */
export interface AccessMemory {
  /** Sessions and the people behind them; undefined: all. */
  forgetSessions(sessionId: string | undefined): void;
  forgetKeys(): void;
  forgetMembers(): void;
}

/** Forgets what a notice makes doubtful; everything when notices may have been missed. */
export function hearAccessNotice(memory: AccessMemory, notice: string): void {
  const [kind, id] = notice.split(' ');
  switch (kind) {
    case 'session':
      memory.forgetSessions(id);
      return;
    case 'user':
      memory.forgetSessions(undefined);
      return;
    case 'key':
      memory.forgetKeys();
      return;
    case 'members':
      memory.forgetMembers();
      return;
    default:
      memory.forgetSessions(undefined);
      memory.forgetKeys();
      memory.forgetMembers();
  }
}
