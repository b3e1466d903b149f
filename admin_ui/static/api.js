// The JSON API. A request that no person caused says so, and then does not keep the session alive.

let csrf = "";
let touched = true;

for (const type of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  addEventListener(type, () => { touched = true; }, { passive: true, capture: true });
}

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: the gateway did not answer
  }
}

async function request(method, path, body, headers) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { accept: "application/json", ...headers, ...(body ? { "content-type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(15000),
    });
  } catch {
    throw new ApiError(0, "The gateway does not answer.");
  }
  const data = await answer.json().catch(() => null);
  if (!answer.ok) throw new ApiError(answer.status, data?.error?.message ?? `The gateway answered ${answer.status}.`);
  return data;
}

export const read = (path) => request("GET", path);

// Polling: counts as a person's request only when somebody used the page since the last one.
export async function poll(paths) {
  const headers = touched ? {} : { "x-understudy-background": "1" };
  touched = false;
  return Promise.all(paths.map((path) => (path ? request("GET", path, null, headers) : null)));
}

export const send = (path, body = {}) => request("POST", path, body, { "x-csrf-token": csrf });

export async function login(key, code) {
  csrf = (await request("POST", "/admin/login", { key, code })).csrf;
}

export async function resume() {
  csrf = (await read("/admin/api/session")).csrf;
}

export async function logout() {
  await send("/admin/logout");
  csrf = "";
}
