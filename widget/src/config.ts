/**
 * What the server says of a chatbot's widget: `GET /api/v1/widget/config?widget_id=cw_pub_…` (`WidgetConfigReply` in
 * `wire_widget.py`). Read by the launcher, handed to the panel.
 */

export type Scheme = "auto" | "light" | "dark";
export type Position = "right" | "left";
export type AvatarKind = "robot" | "face" | "none" | "model";
export type TierSetting = "auto" | "full" | "low" | "2d" | "text";

export interface ThemeConfig {
  /** CSS colours, "#rrggbb". */
  readonly accent: string;
  readonly scheme: Scheme;
  readonly position: Position;
  /** Distance from the window's edges, in CSS pixels. */
  readonly offset_x: number;
  readonly offset_y: number;
  /** Radius of the panel's corners, in CSS pixels. */
  readonly radius: number;
}

export interface AvatarColors {
  readonly shell: string;
  readonly accent: string;
  readonly glass: string;
  readonly glow: string;
}

export interface AvatarConfig {
  readonly kind: AvatarKind;
  /** GLB or VRM; only with kind "model". */
  readonly url: string | null;
  /** Animation name -> name of a clip in the model. */
  readonly clips: Readonly<Record<string, string>>;
  readonly colors: AvatarColors;
  readonly tier: TierSetting;
}

/** Words of the operator's own; null: the locale's. */
export interface TextsConfig {
  readonly title: string | null;
  readonly launcher: string | null;
  readonly placeholder: string | null;
  readonly error: string | null;
  readonly over_limit: string | null;
  readonly offline: string | null;
  readonly handoff: string | null;
}

export interface FeaturesConfig {
  readonly feedback: boolean;
  readonly transcript: boolean;
  readonly read_aloud: boolean;
  readonly images: boolean;
}

export interface WidgetConfig {
  readonly widget_id: string;
  readonly name: string;
  readonly greeting: string;
  readonly suggested_questions: readonly string[];
  /** One of LOCALES; what the server chose by the request's languages. */
  readonly locale: string;
  readonly theme: ThemeConfig;
  readonly avatar: AvatarConfig;
  readonly texts: TextsConfig;
  readonly features: FeaturesConfig;
}

export const LOCALES = ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ar", "zh"] as const;
export type Locale = (typeof LOCALES)[number];
