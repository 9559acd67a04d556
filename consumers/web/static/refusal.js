// Why the server does not answer: its problem (RFC 9457), or what the browser says.
export async function refusal(response) {
  const problem = await response.json().catch(() => null);
  return {kind: problem?.type?.split(":").at(-1) ?? "", code: problem?.code ?? null, reason: problem?.detail ?? `${response.status} ${response.statusText}`};
}
