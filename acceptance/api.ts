/** A thin client for the suite: raw HTTP, no code of the server. */
export interface Answer<T = unknown> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

export interface VariantView {
  readonly status: string;
  readonly url: string;
  readonly width: number | null;
  readonly height: number | null;
  readonly size: number | null;
  readonly mimeType: string | null;
}

export interface FileView {
  readonly id: string;
  readonly status: string;
  readonly failure: string | null;
  readonly filename: string;
  readonly mimeType: string;
  readonly size: number;
  readonly sha256: string;
  readonly width: number | null;
  readonly height: number | null;
  readonly url: string;
  readonly variants: Readonly<Record<string, VariantView>>;
}

export class Api {
  readonly url: string;
  /** What every request says of its sender. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.url = url;
    this.headers = headers;
  }

  async call<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        ...this.headers,
        ...(body === undefined || body instanceof FormData ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: (text ? JSON.parse(text) : null) as T,
    };
  }

  /** Registers a person and answers as them from now on. */
  static async register(
    url: string,
    email = `p${Math.random().toString(36).slice(2)}@example.com`,
  ): Promise<Api> {
    const password = 'a-rather-long-password';
    const { status, body } = await new Api(url).call<{ accessToken: string }>('POST', '/auth/register', {
      email,
      password,
    });
    if (status !== 201) throw new Error(`register answered ${status}: ${JSON.stringify(body)}`);
    return new Api(url, { authorization: `Bearer ${body.accessToken}` });
  }

  async project(settings?: object): Promise<string> {
    const { status, body } = await this.call<{ id: string }>('POST', '/projects', {
      name: 'Acceptance',
      ...(settings ? { settings } : {}),
    });
    if (status !== 201) throw new Error(`create project answered ${status}: ${JSON.stringify(body)}`);
    return body.id;
  }

  async upload(
    project: string,
    name: string,
    bytes: Uint8Array<ArrayBuffer>,
    type?: string,
  ): Promise<Answer<FileView>> {
    const form = new FormData();
    form.append('file', new Blob([bytes], type === undefined ? {} : { type }), name);
    return this.call('POST', `/projects/${project}/upload`, form);
  }

  async file(id: string): Promise<FileView> {
    const { status, body } = await this.call<FileView>('GET', `/files/${id}`);
    if (status !== 200) throw new Error(`GET /files/${id} answered ${status}`);
    return body;
  }

  /** Every file of the project, page by page. */
  async files(project: string, query = ''): Promise<FileView[]> {
    const all: FileView[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const next: string = cursor ? `&cursor=${cursor}` : '';
      const { body } = await this.call<{ data: FileView[]; nextCursor: string | null }>(
        'GET',
        `/projects/${project}/files?limit=100${query}${next}`,
      );
      all.push(...body.data);
      cursor = body.nextCursor;
    }
    return all;
  }
}
