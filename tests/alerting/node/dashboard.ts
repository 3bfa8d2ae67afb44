// What a dashboard file must be, in the published types of Grafana. Enums of the types are their
// values in JSON: `Json` says so, and leaves everything else as strict as it is.
import type { Dashboard, DataQuery, Panel } from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer U)[]
      ? Json<U>[]
      : unknown extends T
        ? T
        : { [K in keyof T]: Json<T[K]> };

// https://grafana.com/docs/loki/latest/query/: the data source's own query is in no package.
interface LokiQuery extends DataQuery {
  expr: string;
  legendFormat?: string;
  editorMode?: 'code' | 'builder';
  maxLines?: number;
  direction?: 'backward' | 'forward' | 'scan';
}

type Of<Kind extends string, Options, Custom> = Omit<Json<Panel>, 'type' | 'options' | 'targets' | 'fieldConfig'> & {
  type: Kind;
  options: Json<Options>;
  targets: Json<LokiQuery>[];
  fieldConfig: Omit<Json<NonNullable<Panel['fieldConfig']>>, 'defaults'> & {
    defaults: Omit<Json<NonNullable<Panel['fieldConfig']>['defaults']>, 'custom'> & { custom?: Partial<Json<Custom>> };
  };
};

type AnyPanel =
  | Of<'stat', Stat.Options, Record<string, never>>
  | Of<'state-timeline', StateTimeline.Options, StateTimeline.FieldConfig>
  | Of<'table', Table.Options, Table.FieldConfig>
  | Of<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>;

export type File = Omit<Json<Dashboard>, 'panels'> & { panels: AnyPanel[] };
